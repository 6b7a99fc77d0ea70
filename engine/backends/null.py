"""No runtime at all: returns constants at once, so that what remains is medge's own cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from medge.engine.backends import Options, Tensor
from medge.engine.placement import Placement, TimedNode
from medge.errors import BackendError
from medge.profiles.device_names import NULL, ordinal


class Null:
    """Constants of the promised shape, valid as logits and as probabilities; never an answer.

    It has as many devices ``null:N`` as are asked for, so that what is spread over several devices
    can be tried where there is one.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    answers: ClassVar[bool] = False
    version = "1"
    renewed = False

    def __init__(self) -> None:
        self.batch: int | None = None
        self._outputs: dict[int, dict[str, Tensor]] = {}

    def devices(self) -> tuple[str, ...]:
        """See Backend.devices."""
        return ("cpu",)

    def precisions(self, device: str) -> tuple[str, ...]:
        """See Backend.precisions."""
        return ("fp32",)

    def load(self, model: bytes, options: Options, engine: bytes | None = None) -> None:
        """See Backend.load; the graph is not looked at."""
        known = options.device == "cpu" or ordinal(options.device, NULL) is not None
        if not known or options.precision != "fp32":
            raise BackendError(
                "backend-option",
                "null runs at fp32 on cpu, or on null:0, null:1 and so on, which are no hardware. "
                "Leave --precision at auto, and --device or choose one of these.",
            )
        self._options = options

    def infer(self, inputs: Mapping[str, Tensor], stream: int = 0) -> Mapping[str, Tensor]:
        """See Backend.infer."""
        batch = len(next(iter(inputs.values())))
        outputs = self._outputs.get(stream)
        if outputs is None or any(len(output) != batch for output in outputs.values()):
            outputs = self._outputs[stream] = {
                port.name: np.full((batch, *port.shape), 1 / port.shape[-1], port.dtype)
                for port in self._options.outputs
            }
        return outputs

    def placement(self) -> Placement:
        """See Backend.placement: nothing runs."""
        return Placement()

    def timed_nodes(self) -> tuple[TimedNode, ...]:
        """See Backend.timed_nodes: nothing runs."""
        return ()

    def engine(self) -> bytes | None:
        """See Backend.engine: nothing was built."""
        return None

    def close(self) -> None:
        """See Backend.close."""
        self._outputs = {}
