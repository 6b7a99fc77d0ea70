"""Run a graph as bundles are run, to hold it against the network that it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medge.engine.backends import Options, Port
from medge.engine.backends.ort import OnnxRuntime
from medge.errors import BundleError
from medge.exporters.network import Tensor
from medge.profiles.device import allowed_cpus

if TYPE_CHECKING:
    from medge.exporters.spec import Spec


class Runtime:
    """ONNX Runtime on one graph; ``batch`` is the only batch that it takes, None for any."""

    def __init__(self, graph: bytes, spec: Spec) -> None:
        self._input = spec.input.name
        self._outputs = tuple(
            Port(output.name, "float32", (len(output.classes),)) for output in spec.outputs
        )
        self._backend = OnnxRuntime()
        self._backend.load(
            graph,
            Options(
                device="cpu",
                precision="fp32",
                threads=allowed_cpus(),
                inputs=(Port(self._input, spec.input.dtype, spec.input.shape),),
                outputs=self._outputs,
            ),
        )
        self.batch = self._backend.batch
        if self.batch not in (None, 1):
            raise BundleError(
                "fixed-batch",
                f"The graph takes only batches of {self.batch}, expected any or 1. Take sizes of "
                "the batch out of forward(), or export it with a free batch.",
            )

    def answers(self, batch: Tensor, at_once: int = 1) -> dict[str, Tensor]:
        """Run (n, ...) in batches of ``at_once``; the rest of n makes a smaller last batch."""
        parts = [
            {k: v.copy() for k, v in self._backend.infer({self._input: part}).items()}
            for part in (batch[i : i + at_once] for i in range(0, len(batch), at_once))
        ]
        return {port.name: np.concatenate([p[port.name] for p in parts]) for port in self._outputs}

    def close(self) -> None:
        """Release the runtime."""
        self._backend.close()
