"""U-Net, which none of the libraries has as its paper describes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """Five levels of two padded 3x3 convolutions, 64 to 1024 channels (Ronneberger et al. 2015).

    The paper's convolutions are not padded and shrink the picture; today's are, and do not.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 1024)
        pairs = list(zip((1, *widths), widths, strict=False))
        self.down = nn.ModuleList(_twice(narrow, wide) for narrow, wide in pairs)
        steps = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(wide, narrow, 2, 2) for wide, narrow in steps)
        self.merge = nn.ModuleList(_twice(wide, narrow) for wide, narrow in steps)
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return two scores for each pixel; ``x`` is (n, 1, h, w) with h and w divisible by 16."""
        seen: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            seen.append(x)
        for up, merge, skip in zip(self.up, self.merge, seen[-2::-1], strict=True):
            x = merge(torch.cat((skip, up(x)), 1))
        scores: Tensor = self.head(x)
        return scores


def _twice(before: int, after: int) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += (nn.Conv2d(channels, after, 3, padding=1), nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
