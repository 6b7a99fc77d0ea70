"""`medge doctor`: what this machine is, what medge can run on it, what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from medge.verbs.options import output_options


@click.command(short_help="Say what this machine is, what runs on it, and what is missing.")
@click.option("--no-measure", is_flag=True, help="Leave memory bandwidth out (half a second).")
@click.option(
    "--target", metavar="ID", help="Instead: what software a device of the catalog takes."
)
@click.option("--lock", is_flag=True, help="With --target: a requirements file for pip.")
@click.option("--route", metavar="NAME", help="With --lock: which way to run. Default: the first.")
@output_options
def command(
    *,
    no_measure: bool,
    target: str | None,
    lock: bool,
    route: str | None,
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Examine this machine: the verdict first, then every fact with where it was read.

    Each runtime proves itself on golden cases in a process of its own. Exit code 0 when one can
    run, 5 when none can; warnings change nothing.

    With --target nothing here is examined: support tables say which driver, runtimes and Python
    work together on that device, what it computes faster than fp32, and what is impossible.
    """
    if target is not None:
        _ladder(target, lock=lock, route=route, form="json" if as_json else form, output=output)
        return
    if lock or route is not None:
        raise click.UsageError("--lock and --route need --target, a device of `medge targets`.")
    from medge.doctor import examine
    from medge.output import write_page, write_text
    from medge.pages.doctor import doctor_object, doctor_text, exit_code

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


def _ladder(target: str, *, lock: bool, route: str | None, form: str, output: Path | None) -> None:
    """Write a device's ladder, or the lock of one of its routes."""
    from medge.lock import choose_route, lock_object, lock_text
    from medge.output import write_page, write_text
    from medge.pages.ladder import ladder_object, ladder_text
    from medge.profiles.target import find_target
    from medge.profiles.toolchain import ladder

    if route is not None and not lock:
        raise click.UsageError("--route needs --lock; without them every route is shown.")
    if lock and form in {"csv", "md"}:
        raise click.UsageError("--lock writes text or --json.")
    found = ladder(find_target(target))
    chosen = choose_route(found, route) if lock else None
    if form in {"json", "jsonl"}:
        said = ladder_object(found) if chosen is None else lock_object(found, chosen)
        write_page(form, said, (), output)
        return
    text = ladder_text(form, found) if chosen is None else lock_text(found, chosen)
    write_text(text, output)
