"""A network of torch: asked as it is, and exported through torch.export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from medge.errors import UsageError
from medge.exporters.network import OPSET, Origin, Tensor
from medge.exporters.plain_run import first_apart
from medge.exporters.quiet import quiet
from medge.exporters.synthetic import parity_batch

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from medge.exporters.spec import Spec

AT_ONCE = 8  # pictures in one run: bounds the memory of inner layers
TRACED_BATCH = 2  # torch.export takes 1 for a constant


class Named(torch.nn.Module):
    """A network whose outputs are a tuple in the order of the specification.

    ``keys`` are positions in a tuple or names in a mapping; empty when the network returns one
    tensor.
    """

    def __init__(self, network: torch.nn.Module, keys: Sequence[int | str]) -> None:
        super().__init__()
        self.network = network
        self.keys = tuple(keys)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return one tensor (n, classes) per output."""
        found = self.network(image)
        return tuple(found[key] for key in self.keys)


class _Watch(torch.fx.Interpreter):
    """Runs a traced program and keeps the value of every node, and the layer that it is of."""

    def __init__(self, program: torch.nn.Module, outputs: Sequence[str]) -> None:
        super().__init__(program)
        self.outputs = outputs  # what the graph calls them
        self.values: dict[str, Tensor] = {}
        self.layers: dict[str, str] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one node; called by ``run`` in order."""
        value = super().run_node(n)
        if n.op == "call_function" and isinstance(value, torch.Tensor):
            self.values[n.name] = value.detach().numpy()
            stack = list(n.meta.get("nn_module_stack", {}).values())
            self.layers[n.name] = stack[-1][0] if stack else ""
        if n.op == "output":
            for name, made in zip(self.outputs, cast("Any", n.args[0]), strict=True):
                if made.name in self.values:
                    self.values[name] = self.values[made.name]
                    self.layers[name] = self.layers[made.name]
        return value


class TorchNetwork:
    """See Network. Everything runs on the CPU, in evaluation mode, without gradients.

    ``batch`` is the only one that the network takes, None for any.
    """

    def __init__(
        self, network: torch.nn.Module, origin: Origin, notes: list[str], batch: int | None = None
    ) -> None:
        self.origin = origin
        self.against = f"{origin.framework} {origin.framework_version}"
        self.notes = notes
        self._network = network
        self._batch = batch
        self._names: tuple[str, ...] = ()
        self._traced: ExportedProgram | None = None

    def to_onnx(self, spec: Spec, opset: int | None) -> bytes:
        """See Network.to_onnx."""
        from medge.exporters.graph import check_size
        from medge.exporters.torch_export import export

        check_size(sum(tensor.nbytes for tensor in self._network.state_dict().values()))
        image = torch.zeros(self._batch or TRACED_BATCH, *spec.input.shape, dtype=_dtype(spec))
        network = self._named(spec, image)
        if self.origin.seed is not None:
            settle(network, torch.from_numpy(parity_batch(spec.input)))
        self._names = tuple(output.name for output in spec.outputs)
        self._traced, graph = export(
            network, image, spec, OPSET if opset is None else opset, free=self._batch is None
        )
        return graph

    def answers(self, batch: Tensor) -> Mapping[str, Tensor]:
        """See Network.answers."""
        step = self._batch or AT_ONCE
        parts = [self._answer(batch[i : i + step]) for i in range(0, len(batch), step)]
        joined = (np.concatenate(column) for column in zip(*parts, strict=True))
        return dict(zip(self._names, joined, strict=True))

    def first_difference(self, graph: bytes, image: Tensor) -> str:
        """See Network.first_difference."""
        if self._traced is None:
            raise RuntimeError("to_onnx comes first")
        watch = _Watch(self._traced.module(), self._names)
        with torch.no_grad(), quiet():
            watch.run(torch.from_numpy(image))
        return first_apart(graph, image, watch.values, watch.layers)

    def _answer(self, batch: Tensor) -> list[Tensor]:
        with torch.no_grad(), quiet():
            found = self._network(torch.from_numpy(batch))
        tensors = found if isinstance(found, tuple) else (found,)
        return [tensor.detach().numpy().astype("f4") for tensor in tensors]

    def _named(self, spec: Spec, image: torch.Tensor) -> torch.nn.Module:
        """Run the network once, check what it returns, and give its outputs their order."""
        found = self._first_answer(image)
        if isinstance(found, torch.Tensor):
            outputs: Mapping[Any, Any] = {0: found}
            network = self._network
        else:
            outputs, keys = _ordered(found, spec)
            network = Named(self._network, keys)
        _check_outputs(list(outputs.values()), spec, len(image))
        self._network = network
        return network

    def _first_answer(self, image: torch.Tensor) -> Any:
        try:
            with torch.no_grad(), quiet():
                return self._network(image)
        except Exception as error:  # a network's own code may raise anything
            raise UsageError(
                "network-input",
                f"The network fails on a batch of {_size(image)} {_kind(image)} "
                f"({type(error).__name__}). Check [input]: channels, height, width, layout, dtype.",
            ) from error


def settle(network: torch.nn.Module, batch: torch.Tensor) -> None:
    """Give every BatchNorm the mean and variance that it meets on ``batch``.

    With its initial 0 and 1 the values of an untrained network shrink from layer to layer, down to
    1e-12 in EfficientNet-B0: nothing to measure rounding or speed with.
    """
    norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of what follows
        norm.train()
    with torch.no_grad(), quiet():
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _ordered(found: Any, spec: Spec) -> tuple[dict[Any, Any], list[int | str]]:
    """Return the network's outputs in the order of the specification, and where they are."""
    if isinstance(found, Mapping):
        keys: list[int | str] = [output.name for output in spec.outputs]
        if set(keys) != set(found):
            keys = list(found)
        return {key: found[key] for key in keys}, keys
    if isinstance(found, (tuple, list)):
        return dict(enumerate(found)), list(range(len(found)))
    raise UsageError(
        "network-output",
        f"The network returns {type(found).__name__}, expected a tensor, or a tuple or mapping of "
        "tensors. Wrap it in a module that returns scores.",
    )


def _check_outputs(outputs: list[Any], spec: Spec, batch: int) -> None:
    if len(outputs) != len(spec.outputs):
        raise UsageError(
            "network-output",
            f"The network has {len(outputs)} outputs, the specification has {len(spec.outputs)}. "
            "Write one [[outputs]] for each, in the network's order.",
        )
    for output, tensor in zip(spec.outputs, outputs, strict=True):
        if not isinstance(tensor, torch.Tensor):
            raise UsageError(
                "network-output",
                f"Output {output.name} is {type(tensor).__name__}, expected a tensor of scores.",
            )
        if tuple(tensor.shape) != (batch, len(output.classes)):
            raise UsageError(
                "network-output",
                f"Output {output.name} is {_size(tensor)} for a batch of {batch}, expected "
                f"{batch}x{len(output.classes)}: the specification names "
                f"{len(output.classes)} classes. Make the two agree.",
            )
        if tensor.dtype != torch.float32:
            raise UsageError(
                "network-output",
                f"Output {output.name} is {_kind(tensor)}, expected float32. Convert the network.",
            )


def _dtype(spec: Spec) -> torch.dtype:
    return torch.uint8 if spec.input.dtype == "uint8" else torch.float32


def _kind(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _size(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
