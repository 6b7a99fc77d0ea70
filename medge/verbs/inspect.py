"""`medge inspect`: check a bundle and show what it says of itself."""

from __future__ import annotations

from pathlib import Path

import click

from medge.verbs.options import output_options


@click.command(short_help="Check a bundle and show what it says.")
@click.argument("bundle", required=False)
@output_options
def command(*, bundle: str | None, form: str, as_json: bool, output: Path | None) -> None:
    """Check a BUNDLE, a folder or a built-in name, and show what it says of itself."""
    from medge.engine.bundle import find_bundle, open_bundle
    from medge.output import write_page
    from medge.pages.bundle import bundle_object, bundle_rows

    with open_bundle(find_bundle(bundle)) as opened:
        write_page("json" if as_json else form, bundle_object(opened), bundle_rows(opened), output)
