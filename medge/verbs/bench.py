"""`medge bench`: which device, which precision: many ways to run many bundles, in one table."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from medge.verbs.options import output_options


@click.command(short_help="Measure many ways to run bundles, in one table.")
@click.option("--studies", is_flag=True, help="The 80 studies of the review beside this machine.")
@click.option("--only", multiple=True, metavar="REF", help="With --studies: these studies only.")
@click.option(
    "--resume", is_flag=True, help="Go on: take what was measured before and still holds."
)
@click.option(
    "--time-limit",
    "limit_s",
    type=click.FloatRange(1),
    default=300.0,
    show_default=True,
    metavar="S",
    help="Longest time of one cell.",
)
@output_options
def command(
    *,
    studies: bool,
    only: tuple[str, ...],
    resume: bool,
    limit_s: float,
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Measure."""
    if only and not studies:
        raise click.UsageError("--only needs --studies.")
    _studies(only, resume=resume, limit_s=limit_s, form="json" if as_json else form, output=output)


def _studies(
    only: tuple[str, ...], *, resume: bool, limit_s: float, form: str, output: Path | None
) -> None:
    """Write the review beside this machine."""
    from medge.bench.matrix.review import review
    from medge.eta import Eta
    from medge.exporters.published import published_graph
    from medge.output import write_page, write_text
    from medge.pages.bench_studies import CSV_COLUMNS, csv_rows, page_text, review_object
    from medge.profiles.study import find_study, studies

    asked = [find_study(ref) for ref in dict.fromkeys(only)] or list(studies().values())
    eta = Eta()
    try:
        found = review(asked, published_graph, resume=resume, limit_s=limit_s, progress=eta)
    finally:
        eta.clear()
    if form in {"json", "jsonl"}:
        write_page(form, review_object(found), (), output)
    elif form == "csv":
        write_page(form, {}, csv_rows(found), output, CSV_COLUMNS)
    else:
        terminal = output is None and sys.stdout.isatty()
        write_text(page_text(found, form, terminal=terminal), output)
