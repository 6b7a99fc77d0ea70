"""Keep other libraries' words off the terminal while they work for an export."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, logging and print within; what matters, medge checks and says itself.

    stdout belongs to the answer of the command, and torch prints whole programs to stderr.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        text = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(text), redirect_stderr(text):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
