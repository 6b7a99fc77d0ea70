"""`medge report`: what was measured of a bundle as one file for people: HTML, Markdown, a trace."""

from __future__ import annotations

from pathlib import Path

import click

FORMS = ("html", "md", "trace")


@click.command(short_help="Write what was measured of a bundle as one file.")
@click.argument("profile", nargs=-1, metavar="[PROFILE...]")
@click.option("--bundle", metavar="NAME|PATH", help="Where the bundle lies, for its layers.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="A page, Markdown, or Chrome's trace events. Default: as FILE ends, else html.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write here instead of to stdout.",
)
def command(
    *, profile: tuple[str, ...], bundle: str | None, form: str | None, output: Path | None
) -> None:
    """Write one file about a bundle on a device: the answer first, then what it rests on.

    PROFILE is the number of a result (`medge results list`), an exported document (FILE.json), or a
    bundle: then its newest results. Nothing names the newest profile. The page holds everything it
    shows and asks for nothing from outside. docs/report.md tells how to read it.
    """
    from medge.bench.report.gather import gather
    from medge.output import write_text

    form = form or _form_of(output)
    if form == "html":
        from medge.bench.report.svg import check_installed

        check_installed()  # before results are read
    subject = gather(profile, bundle)
    if form == "trace":
        from medge.bench.report.trace import trace

        text = trace(subject).decode()
    else:
        from medge.bench.report.contents import report
        from medge.bench.report.html import html
        from medge.bench.report.markdown import markdown

        text = (html if form == "html" else markdown)(report(subject))
    write_text(text, output)


def _form_of(output: Path | None) -> str:
    endings = {".md": "md", ".json": "trace"}
    return "html" if output is None else endings.get(output.suffix.lower(), "html")
