"""The demo models' network: wavelets, main components, and one linear system."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from augmentation import Augmentation
from kernel_training import Recipe, fit, main_components, ridge_regression
from scattering import SCALES, Scattering, Wavelets
from scipy.signal import correlate2d
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import StandardScaler
from training import TrainingSet, logits


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def stripes(period: float, degrees: float, side: int = 56) -> torch.Tensor:
    """Waves whose crests are ``period`` pixels apart, along the direction given."""
    down, right = np.mgrid[0:side, 0:side]
    angle = np.deg2rad(degrees)
    along = np.cos(angle) * right + np.sin(angle) * down
    return torch.from_numpy(np.sin(2 * np.pi * along / period))[None, None].float()


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_wavelets_are_the_moduli_of_plain_correlations(scale: int) -> None:
    wavelets, picture = Wavelets(scale), noise(1, 1, 28, 28)
    found = wavelets(picture)[0].numpy()
    filters = wavelets.filters[:, 0].numpy().astype("f8")
    padded = np.pad(picture[0, 0].numpy().astype("f8"), wavelets.pad, mode="edge")
    step = 2**scale
    for k in range(8):
        real, imaginary = (correlate2d(padded, part, "valid") for part in filters[[k, k + 8]])
        np.testing.assert_allclose(found[k], np.hypot(real, imaginary)[::step, ::step], atol=1e-6)


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_wavelets_see_no_constant_and_answer_to_waves_of_their_own_direction(scale: int) -> None:
    wavelets = Wavelets(scale)
    assert wavelets(torch.full((1, 1, 56, 56), 0.7)).abs().max() < 1e-6
    for k in range(8):
        energy = wavelets(stripes(8 / 3 * 2**scale, 22.5 * k))[0, :, 3:-3, 3:-3].mean((1, 2))
        assert int(energy.argmax()) == k


@pytest.mark.parametrize("side", SCALES)
def test_scattering_hardly_moves_with_the_picture_and_moves_with_its_content(side: int) -> None:
    scattering = Scattering(side)
    wide = noise(2, 1, side, side + 8)
    with torch.inference_mode():
        here, beside = (scattering(wide[..., at : at + side])[:, 49:] for at in (0, 1))
    assert here.shape[1] == scattering.features - 49
    moved = (here - beside).pow(2).mean().sqrt()
    other = (here[0] - here[1]).pow(2).mean().sqrt()
    assert moved < 0.6 * other


def test_a_larger_batch_gives_the_same_features() -> None:
    scattering, pictures = Scattering(28), noise(5, 1, 28, 28)
    with torch.inference_mode():
        alone = torch.cat([scattering(picture[None]) for picture in pictures])
        torch.testing.assert_close(scattering(pictures), alone, atol=1e-5, rtol=0)


def test_components_are_those_of_a_standardised_main_component_analysis() -> None:
    features = noise(80, 30).double() @ noise(30, 30, seed=1).double()
    weight, bias = main_components(features, 6, 0.5)
    found = (features @ weight.T + bias).numpy()
    expected = PCA(6).fit_transform(StandardScaler().fit_transform(features.numpy()))
    expected *= np.sqrt(0.5 / expected.var(0).sum())
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-9)
    assert (weight.gather(1, (weight * features.std(0)).abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("classes", [2, 4])
def test_weights_are_those_of_kernel_ridge_regression(classes: int) -> None:
    places = noise(60, 5).double()
    labels = torch.arange(60).pow(2) % classes if classes == 2 else torch.arange(60) % classes
    labels[:5] = 0
    weights, offset = ridge_regression(places, labels, classes, 0.7)
    wanted = 2.0 * np.eye(classes)[labels.numpy()] - 1 - offset.numpy()
    share = np.bincount(labels.numpy()) / 60
    machine = KernelRidge(alpha=0.7, kernel="rbf", gamma=1.0)
    # scikit-learn divides the penalty by the sample's weight; this is the same one.
    machine.fit(places.numpy(), wanted, sample_weight=2 / classes / share[labels.numpy()])
    kernel = np.exp(-((places[:, None] - places[None]) ** 2).sum(2).numpy())
    np.testing.assert_allclose(kernel @ weights.numpy().T, machine.predict(places), atol=1e-8)


def two_textures(count: int, seed: int) -> TrainingSet:
    """Fine and coarse noise of equal brightness, which only scale tells apart."""
    fine = noise(count, 1, 28, 28, seed=seed)
    coarse = noise(count, 1, 14, 14, seed=seed + 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    labels = np.arange(2 * count) // count
    return TrainingSet(torch.cat((fine, coarse)), labels, 2, 0.5, 0.3)


def test_a_machine_learns_what_tells_two_textures_apart() -> None:
    machine = fit(Recipe(components=20, views=1), two_textures(30, 0))
    unseen = two_textures(20, 100)
    assert (logits(machine, unseen).argmax(1) == unseen.labels).all()


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    recipe, lesson = Recipe(components=10, views=1, plain=False), two_textures(10, 0)
    first, again, other = (fit(r, lesson) for r in (recipe, recipe, Recipe(10, views=1, seed=1)))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(first.project.weight, other.project.weight)


def test_random_views_keep_range_and_shape_and_nothing_asked_changes_nothing() -> None:
    pictures = noise(6, 1, 28, 28)
    views = Augmentation()(pictures, torch.Generator().manual_seed(0))
    assert views.shape == pictures.shape
    assert 0 <= views.min() <= views.max() <= 1
    assert not torch.allclose(views, pictures, atol=0.05)
    still = Augmentation(flip=False, **dict.fromkeys(LIMITS, 0.0))
    same = still(pictures, torch.Generator().manual_seed(0))
    torch.testing.assert_close(same, pictures, atol=1e-5, rtol=0)


LIMITS = (
    "turn_degrees",
    "shift_ratio",
    "scale_ratio",
    "gain",
    "offset",
    "gamma",
    "blur",
    "sharpen",
    "noise",
    "erase_ratio",
)
