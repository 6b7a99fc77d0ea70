"""`medge doctor`: what this machine is, what medge can run on it, what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from medge.verbs.options import output_options


@click.command(short_help="Say what this machine is, what runs on it, and what is missing.")
@click.option("--no-measure", is_flag=True, help="Leave memory bandwidth out (half a second).")
@output_options
def command(*, no_measure: bool, form: str, as_json: bool, output: Path | None) -> None:
    """Examine this machine: the verdict first, then every fact with where it was read.

    Each runtime proves itself on golden cases in a process of its own. Exit code 0 when one can
    run, 5 when none can; warnings change nothing.
    """
    from medge.doctor import examine
    from medge.doctor_page import doctor_object, doctor_text, exit_code
    from medge.output import write_page, write_text

    found = examine(measure=not no_measure)
    form = "json" if as_json else form
    if form in {"json", "jsonl"}:
        write_page(form, doctor_object(found), (), output)
    else:
        terminal = output is None and sys.stdout.isatty()
        write_text(doctor_text(form, found, terminal=terminal), output)
    code = exit_code(found)
    if code:
        raise SystemExit(code)
