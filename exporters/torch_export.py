"""From a torch module to ONNX bytes, by torch's own exporter (torch.export, then ONNX)."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medge.errors import BundleError, UsageError
from medge.exporters.graph import cleaned, opset_of
from medge.exporters.quiet import quiet

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from medge.exporters.spec import Spec

LOWEST_OPSET = 18  # torch's exporter has no translations for older ones


def export(
    network: torch.nn.Module, image: torch.Tensor, spec: Spec, opset: int, *, free: bool
) -> tuple[ExportedProgram, bytes]:
    """Return the traced program and its ONNX file; ``free`` leaves the batch open.

    Raises
    ------
    UsageError
        Rule ``opset``: lower than torch's exporter can write.
    BundleError
        Rule ``export-failed``: torch cannot trace or translate the network; names the operator or
        the reason's class.
    """
    return translated(
        network,
        image,
        inputs=[spec.input.name],
        outputs=[output.name for output in spec.outputs],
        opset=opset,
        free=free,
    )


def translated(
    network: torch.nn.Module,
    image: torch.Tensor,
    *,
    inputs: list[str],
    outputs: list[str],
    opset: int,
    free: bool,
) -> tuple[ExportedProgram, bytes]:
    """Return what ``export`` does, for tensors that are called as is said here."""
    if opset < LOWEST_OPSET:
        raise UsageError(
            "opset",
            f"torch {torch.__version__} writes opset {LOWEST_OPSET} or newer, {opset} was asked "
            f"for. Leave out --opset, or convert the bundle's graph elsewhere.",
        )
    with quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                network,
                (image,),
                dynamo=True,
                input_names=inputs,
                output_names=outputs,
                opset_version=opset,
                dynamic_shapes=({0: "batch"},) if free else None,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # torch wraps the causes in classes of its own
            raise _failed(error) from error
    if program is None or program.exported_program is None:  # only for dynamo=False
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    if opset_of(model) != opset:  # torch keeps its own opset when it cannot convert
        raise UsageError(
            "opset",
            f"torch {torch.__version__} cannot write this network as opset {opset}, only as "
            f"{opset_of(model)}. Leave out --opset.",
        )
    return program.exported_program, cleaned(model)


def _failed(error: BaseException) -> BundleError:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    place = next(filter(None, map(_place, reversed(causes))), "")
    return BundleError(
        "export-failed",
        f"torch {torch.__version__} finds no way to write this network as ONNX "
        f"({type(error).__name__} from {type(causes[-1]).__name__}{place}). Take out what depends "
        "on values of the picture or fixes the batch, or export it to FILE.onnx yourself and give "
        "that.",
    )


def _place(error: BaseException) -> str:
    """Return where an error left the network's own code, if it passed through it."""
    libraries = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.name == "forward" and not f.filename.startswith(libraries)]
    return f", {Path(own[-1].filename).name} line {own[-1].lineno}" if own else ""
