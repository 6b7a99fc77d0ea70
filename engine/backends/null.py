"""No runtime at all: returns constants at once, so that what remains is medge's own cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from medge.engine.backends import Options, Tensor
from medge.errors import BackendError


class Null:
    """Constants of the promised shape, valid as logits and as probabilities; never an answer."""

    requires: ClassVar[tuple[str, ...]] = ()
    answers: ClassVar[bool] = False

    def __init__(self) -> None:
        self.batch: int | None = None
        self._outputs: dict[str, Tensor] = {}

    def load(self, model: bytes, options: Options) -> None:
        """See Backend.load; the graph is not looked at."""
        if options.device != "cpu" or options.precision != "fp32":
            raise BackendError("backend-option", "null runs at fp32 on cpu; leave both at auto.")
        self._options = options

    def infer(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See Backend.infer."""
        batch = len(next(iter(inputs.values())))
        if any(len(output) != batch for output in self._outputs.values()) or not self._outputs:
            self._outputs = {
                port.name: np.full((batch, *port.shape), 1 / port.shape[-1], port.dtype)
                for port in self._options.outputs
            }
        return self._outputs

    def close(self) -> None:
        """See Backend.close."""
        self._outputs = {}
