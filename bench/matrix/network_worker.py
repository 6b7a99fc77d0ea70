"""Network worker: the process in which one runtime runs one published network and is timed."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import Struct

from medge.bench.measure import Measurement, measure
from medge.bench.procedure import Procedure
from medge.engine.backends import Options, Port, backend_class
from medge.errors import BundleError, GateError, InputError, MedgeError

if TYPE_CHECKING:
    from medge.engine.backends import Backend, Tensor

STATUS = Path("/proc/self/status")


class Task(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One network on one runtime: its file and seal, and the two tensors that it has.

    Shapes are of one picture, without the batch.
    """

    path: str
    sha256: str
    runtime: str
    input_name: str
    input_shape: tuple[int, ...]
    output_name: str
    output_shape: tuple[int, ...]
    procedure: Procedure


class Told(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the worker found, or the error that stopped it.

    ``placement`` is the share of the compute layers by the precision that they were seen to run in.
    """

    version: str = ""
    measurement: Measurement | None = None
    placement: dict[str, float] = {}
    peak_rss_bytes: int | None = None
    rule: str = ""
    message: str = ""


def run(task: Task) -> Told:
    """Load the graph, see that it answers with finite numbers at fp32, and time it."""
    graph = Path(task.path).read_bytes()
    if hashlib.sha256(graph).hexdigest() != task.sha256:
        raise BundleError("digest", "The kept graph is damaged. Run again: it is made anew.")
    backend = backend_class(task.runtime)()
    inputs = (Port(task.input_name, "float32", task.input_shape),)
    outputs = (Port(task.output_name, "float32", task.output_shape),)
    options = Options(
        device="cpu",
        precision="fp32",
        threads=task.procedure.threads or 1,
        inputs=inputs,
        outputs=outputs,
    )
    backend.load(graph, options)
    del graph
    picture = np.random.default_rng(0).random((1, *task.input_shape), "f4")
    placement = _proven(backend, {task.input_name: picture})
    measured = measure(lambda: backend.infer({task.input_name: picture}), task.procedure)
    return Told(
        version=backend.version,
        measurement=measured,
        placement=placement,
        peak_rss_bytes=_peak_rss_bytes(),
    )


def _proven(backend: Backend, inputs: dict[str, Tensor]) -> dict[str, float]:
    """Run once; hold that the answers are numbers and that nothing runs in fewer bits."""
    answers = backend.infer(inputs)
    if not all(np.isfinite(answer).all() for answer in answers.values()):
        raise InputError(
            "not-finite-output", "The network's answers hold NaN or Inf. Use another runtime."
        )
    shares = dict(backend.placement().shares)
    narrow = sum(share for name, share in shares.items() if name != "fp32")
    if narrow:
        raise GateError(
            "precision-read-back",
            f"{narrow:.0%} of the layers do not run in fp32 as asked. Choose another runtime.",
        )
    return shares


def _peak_rss_bytes() -> int | None:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    return None if found is None else 1024 * int(found[1])


def main() -> None:
    """Do the task on stdin; the only line on stdout is the answer."""
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a runtime prints goes nowhere
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        told = run(task)
    except MedgeError as error:
        told = Told(rule=error.rule, message=error.message)
    with os.fdopen(answer, "wb") as stream:
        stream.write(msgspec.json.encode(told) + b"\n")


if __name__ == "__main__":
    main()
