"""What an export needs of a network, wherever it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy.typing as npt

if TYPE_CHECKING:
    from medge.exporters.spec import Spec

Tensor: TypeAlias = npt.NDArray[Any]

OPSET = 18
"""Opset of exported graphs, unless another is asked for.

torch's exporter writes 18 itself; any other goes through a converter of graphs. ONNX Runtime,
OpenVINO and TensorRT from 10.0 take it; TensorRT 8.4 to 8.6 (JetPack 5) end at 17.
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a network came from, as the manifest says it.

    ``weights_sha256`` is the digest of the file that the weights were read from, None when they
    are random; ``seed`` is then what they were drawn with.
    """

    framework: str
    framework_version: str
    architecture: str
    weights_sha256: str | None
    seed: int | None = None


class Network(Protocol):
    """A trained network that can be asked, and turned into an ONNX graph."""

    origin: Origin
    against: str  # what answers when it is asked: library and version
    notes: list[str]  # what was done to it on the way, for the report

    def to_onnx(self, spec: Spec, opset: int | None) -> bytes:
        """Return one ONNX file with the names and shapes of ``spec`` and all weights inside.

        Raises
        ------
        UsageError
            The network does not fit the specification; both sides are named.
        BundleError
            Rule ``export-failed``: there is no way to express it as ONNX.
        """
        ...

    def answers(self, batch: Tensor) -> Mapping[str, Tensor]:
        """Run the framework's own network on (n, ...); outputs by the names of the graph."""
        ...

    def first_difference(self, graph: bytes, image: Tensor) -> str:
        """Say which node of ``graph`` is the first to differ on a batch of one, in one sentence."""
        ...
