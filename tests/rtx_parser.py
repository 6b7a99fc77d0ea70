"""TensorRT-RTX's own parser in a process of its own: what it takes, asked without any of medge."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any

_CHILD = """
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
import tensorrt_rtx as trt
logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
for line in sys.stdin.buffer:
    asked = json.loads(line)
    network = trt.Builder(logger).create_network(typed)
    parser = trt.OnnxParser(network, logger)
    if "operators" in asked:
        said = [name for name in asked["operators"] if parser.supports_operator(name)]
    else:
        taken = parser.parse(bytes.fromhex(asked["model"]))
        errors = [parser.get_error(i).node_operator() for i in range(parser.num_errors)]
        said = [bool(taken), errors]
    answers.write(json.dumps(said) + chr(10))
    answers.flush()
"""


class RtxParser:
    """Asks the parser; one process for all questions, whose start takes longer than an answer."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def operators(self, names: list[str]) -> set[str]:
        """Return those of the operators that it says it has."""
        return set(self._asked({"operators": names}))

    def refuses(self, model: bytes) -> tuple[bool, list[str]]:
        """Return whether it refuses a graph, and the operators that it stopped at."""
        taken, operators = self._asked({"model": model.hex()})
        return not taken, operators

    def _asked(self, question: dict[str, Any]) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(question).encode() + b"\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        assert line, f"the parser's process ended with {self._child.wait(10)}"
        return json.loads(line)

    def __enter__(self) -> RtxParser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.communicate()
