"""A fresh process that answers once: it is asked on stdin, and ends with all that it started."""

from __future__ import annotations

import subprocess

from medge.engine.child_process import end, started


def answer_of(module: str, body: bytes, limit_s: float) -> tuple[bytes, int]:
    """Run ``python -m module`` on some bytes.

    Returns
    -------
    tuple
        What it wrote to stdout, and its exit code, negative for the signal that ended it.

    Raises
    ------
    TimeoutError
        It was not done after ``limit_s`` seconds, and was ended.
    """
    process = started(module)
    try:
        said, _ = process.communicate(body, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    finally:  # Ctrl-C must not leave it running
        end(process)
    return said, process.returncode
