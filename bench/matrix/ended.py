"""How a process that measured came to its end when it gave no answer."""

from __future__ import annotations

import signal


def end_text(code: int) -> str:
    """Say in one sentence how a process ended; ``code`` is as ``subprocess`` tells it."""
    if code >= 0:
        return f"Its process ended with code {code} before it answered."
    number = -code
    known = number in set(map(int, signal.Signals))
    name = signal.Signals(number).name if known else f"signal {number}"
    told = {
        "SIGKILL": "; the system kills what needs more memory than there is",
        "SIGILL": ", an instruction that this CPU does not have",
    }.get(name, "")
    return f"Its process was ended by {name}{told}."
