"""Published networks that studies name: their layers, so that they need not be at hand."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from msgspec import Meta, Struct

from medge.profiles.layers import Layers, decode_layers
from medge.profiles.rows import read_rows
from medge.profiles.terms import Count, Positive, Text

FOLDER = Path(__file__).parent / "data" / "networks"

Token = Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


class Network(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published network with the picture that it was published for.

    Its last layer has the classes of its paper (1000 for ImageNet): a study's own head is smaller.

    Parameters
    ----------
    flops
        Of one picture; a multiplication and its addition are two.
    builder, versions
        What built it when its layers were recorded by examples/backbones.py.
    """

    id: Token
    name: Text
    builder: Text
    channels: Positive
    height: Positive
    width: Positive
    parameters: Count
    flops: Count
    versions: tuple[Text, ...]
    source: Text

    def layers(self) -> Layers:
        """Return its layers at batch 1, normalisation standing by itself."""
        return decode_layers(gzip.decompress((FOLDER / f"{self.id}.json.gz").read_bytes()))


class Architecture(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a study calls its network, and the published network that this means.

    ``network`` is None where no network can be told, and ``reason`` says why; ``assumption`` says
    what was taken for granted where the study leaves something open.
    """

    architecture: Token
    network: Token | None = None
    assumption: Text | None = None
    reason: Text | None = None

    def __post_init__(self) -> None:
        """Hold that there is a network or a reason why not."""
        if (self.network is None) == (self.reason is None):
            raise ValueError("an architecture has either a network or a reason")


@cache
def networks() -> Mapping[str, Network]:
    """Return every published network by its id."""
    rows = read_rows(FOLDER / "networks.csv", Network, ("versions",))
    return MappingProxyType({network.id: network for _, network in rows})


@cache
def architectures() -> Mapping[str, Architecture]:
    """Return what every name of the review's studies means."""
    rows = read_rows(FOLDER / "architectures.csv", Architecture, ())
    return MappingProxyType({row.architecture: row for _, row in rows})
