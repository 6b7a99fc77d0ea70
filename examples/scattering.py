"""A classifier for a few hundred pictures: wavelet scattering, and a kernel upon it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

DIRECTIONS = 8
SCALES = {28: 3, 56: 4}  # side of the picture: wavelengths of about 3, 5, 11 (and 21) pixels


class Wavelets(nn.Module):
    """Moduli of Morlet wavelets of one scale in 8 directions, every ``2**scale`` pixels."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.stride = 2**scale
        self.pad = 3 * self.stride - 1
        filters = [_morlet(scale, k * math.pi / DIRECTIONS, self.pad) for k in range(DIRECTIONS)]
        parts = torch.stack([f.real for f in filters] + [f.imag for f in filters])
        self.register_buffer("filters", parts[:, None].float())

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, channels * 8, h / stride, w / stride)."""
        channels, height, width = x.shape[1:]
        alone = x.reshape(-1, 1, height, width)
        padded = nnf.pad(alone, (self.pad,) * 4, mode="replicate")
        real, imaginary = nnf.conv2d(padded, self.filters, stride=self.stride).chunk(2, 1)
        size = (channels * DIRECTIONS, height // self.stride, width // self.stride)
        return (real**2 + imaginary**2).sqrt().reshape(-1, *size)


class Scattering(nn.Module):
    """Scattering of order 2 (Bruna and Mallat 2013, arXiv:1203.1513) of 28 x 28 or 56 x 56 pixels.

    How much there is of every scale and direction, and how that varies, roughly placed: what such
    pictures tell, computed with no trained weights at all.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        count = SCALES[side]
        self.pixels = side // 7
        self.scales = nn.ModuleList(Wavelets(scale) for scale in range(count))
        pairs = count * (count - 1) // 2
        self.features = 49 + count * DIRECTIONS * 16 + pairs * DIRECTIONS**2 * 4

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, 1, side, side) to brightness and log energies, shape (n, features)."""
        first = [scale(x) for scale in self.scales]
        second = [
            coarser(energy)
            for place, energy in enumerate(first)
            for coarser in self.scales[1 : len(first) - place]
        ]
        pooled = [_pool(energy, 4) for energy in first] + [_pool(energy, 2) for energy in second]
        energies = torch.cat([part.flatten(1) for part in pooled], 1)
        brightness = nnf.avg_pool2d(x, self.pixels).flatten(1)
        return torch.cat((brightness, torch.log(energies + 5e-3)), 1)


class KernelMachine(nn.Module):
    """Weighted likeness to every training picture: Gaussian kernel of main components."""

    def __init__(self, centres: int, components: int, classes: int, side: int) -> None:
        super().__init__()
        self.arguments = {
            "centres": centres,
            "components": components,
            "classes": classes,
            "side": side,
        }
        self.scattering = Scattering(side)
        self.project = nn.Linear(self.scattering.features, components)
        self.centres = nn.Linear(components, centres)  # 2 c.z - |c|^2 for every centre c
        self.head = nn.Linear(centres, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised pictures (n, 1, side, side) to scores (n, classes)."""
        z = self.project(self.scattering(x))
        # exp(-|z - c|^2), which never exceeds 1; components are scaled to need no width.
        exponent = self.centres(z) - (z * z).sum(1, keepdim=True)
        scores: Tensor = self.head(torch.exp(exponent))
        return scores


def build(centres: int, components: int, classes: int, side: int) -> KernelMachine:
    """Build the machine that ``medge export scattering:build`` fills."""
    return KernelMachine(centres, components, classes, side)


def _pool(maps: Tensor, cells: int) -> Tensor:
    """Average into cells x cells parts, which overlap where the side is no multiple of cells."""
    side = maps.shape[-1]
    step = side // cells
    return nnf.avg_pool2d(maps, side - (cells - 1) * step, step)


def _morlet(scale: int, angle: float, reach: int) -> Tensor:
    """Return a complex wavelet of zero mean on a square of 2 * reach + 1 pixels."""
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    down, right = torch.meshgrid(place, place, indexing="ij")
    along = math.cos(angle) * right + math.sin(angle) * down
    across = math.cos(angle) * down - math.sin(angle) * right
    sigma, slant = 0.8 * 2**scale, 4 / DIRECTIONS
    hill = torch.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2))
    wave = torch.polar(hill, 3 * math.pi / 4 / 2**scale * along)
    wave = wave - hill * (wave.sum() / hill.sum())
    return wave / wave.abs().sum()
