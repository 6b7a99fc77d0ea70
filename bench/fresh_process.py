"""A fresh process that answers once: it is asked on stdin, and ends with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys


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
    process = subprocess.Popen(  # noqa: S603 - a module of ours, named by the caller in code
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a runtime's own words are no part of the answer
        cwd="/",  # so that no module of the user's folder is imported
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(body, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    finally:  # Ctrl-C must not leave it running
        with contextlib.suppress(ProcessLookupError):  # it is gone already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    return said, process.returncode
