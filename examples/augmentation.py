"""Random views of gray pictures, a batch at a time: what scanners, probes and hands vary."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a picture may be changed without changing its class.

    ``turn_degrees``, ``shift_ratio`` (of the side) and ``scale_ratio`` bound the affine map;
    ``flip`` mirrors left and right. ``gain`` and ``offset`` bound contrast and brightness (display
    0..1), ``gamma`` the exponent 1/(1+gamma)..1+gamma. ``blur`` and ``sharpen`` bound how much of
    the 3x3 blurred picture is mixed in or taken out: pictures come enlarged from few pixels as well
    as reduced from many. ``noise`` is the largest standard deviation; ``erase_ratio`` the largest
    side of a box that is filled with the picture's mean.
    """

    flip: bool = True
    turn_degrees: float = 10.0
    shift_ratio: float = 0.08
    scale_ratio: float = 0.12
    gain: float = 0.25
    offset: float = 0.12
    gamma: float = 0.3
    blur: float = 0.9
    sharpen: float = 0.5
    noise: float = 0.03
    erase_ratio: float = 0.3

    def __call__(self, pictures: Tensor, random: torch.Generator) -> Tensor:
        """Change each picture of a batch, shape (n, 1, h, w), display values 0..1, its own way."""
        changed = self._move(pictures, random)
        changed = self._focus(changed, random)
        changed = self._expose(changed, random)
        return self._erase(changed, random)

    def _move(self, pictures: Tensor, random: torch.Generator) -> Tensor:
        count = len(pictures)
        angle = _between(count, math.radians(self.turn_degrees), random)
        zoom = torch.exp(_between(count, math.log1p(self.scale_ratio), random))
        mirror = torch.ones(count)
        if self.flip:
            mirror = torch.randint(0, 2, (count,), generator=random) * 2.0 - 1.0
        # grid_sample counts -1..1 over the side, so a shift ratio is worth twice itself.
        right = _between(count, 2 * self.shift_ratio, random)
        down = _between(count, 2 * self.shift_ratio, random)
        cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        rows = (
            torch.stack((cosine * mirror, -sine, right), 1),
            torch.stack((sine * mirror, cosine, down), 1),
        )
        grid = nnf.affine_grid(torch.stack(rows, 1), list(pictures.shape), align_corners=False)
        # Bicubic: bilinear would blur every training picture, and no picture at run time.
        return nnf.grid_sample(
            pictures, grid, mode="bicubic", padding_mode="reflection", align_corners=False
        )

    def _focus(self, pictures: Tensor, random: torch.Generator) -> Tensor:
        share = torch.rand((len(pictures), 1, 1, 1), generator=random)
        share = share * (self.blur + self.sharpen) - self.sharpen
        blurred = nnf.avg_pool2d(nnf.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        return pictures + share * (blurred - pictures)

    def _expose(self, pictures: Tensor, random: torch.Generator) -> Tensor:
        shape = (len(pictures), 1, 1, 1)
        gamma = torch.exp(_between(shape, math.log1p(self.gamma), random))
        gain = 1 + _between(shape, self.gain, random)
        offset = _between(shape, self.offset, random)
        sigma = torch.rand(shape, generator=random) * self.noise
        curved = pictures.clamp(0, 1) ** gamma
        middle = curved.mean((2, 3), keepdim=True)
        changed = (curved - middle) * gain + middle + offset
        return (changed + sigma * torch.randn(pictures.shape, generator=random)).clamp(0, 1)

    def _erase(self, pictures: Tensor, random: torch.Generator) -> Tensor:
        count, _, height, width = pictures.shape
        inside = []
        for side in (height, width):
            length = torch.rand((count, 1), generator=random) * self.erase_ratio * side
            start = torch.rand((count, 1), generator=random) * (side - length)
            place = torch.arange(side)[None] + 0.5
            inside.append((place >= start) & (place < start + length))
        box = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return torch.where(box, pictures.mean((2, 3), keepdim=True), pictures)


def _between(shape: int | tuple[int, ...], limit: float, random: torch.Generator) -> Tensor:
    """Draw uniform numbers from -limit to limit."""
    return (torch.rand(shape, generator=random) * 2 - 1) * limit
