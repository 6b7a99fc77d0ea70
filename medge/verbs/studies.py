"""`medge studies`: the studies of the review, and its shares counted again."""

from __future__ import annotations

from pathlib import Path

import click

from medge.verbs.group import WithDefault
from medge.verbs.options import output_options

MODALITIES = ("X-ray", "MRI", "ultrasound")


@click.group(cls=WithDefault, name="studies", short_help="80 published studies and their hardware.")
def command() -> None:
    """Show the 80 studies of one scoping review: what they classified, with what, on what.

    Laçi, Sevrani, Iqbal 2025, doi:10.1186/s12880-025-01701-5; facts only.
    """


@command.command("list", short_help="One row a study; meant when no verb is typed.")
@click.option("--modality", type=click.Choice(MODALITIES, case_sensitive=False))
@click.option("--disease", metavar="WORD", help="As tumor, COVID.")
@click.option("--model", metavar="WORD", help="Network, as resnet50, VGG, hybrid.")
@click.option("--organ", metavar="WORD", help="As lungs, brain.")
@output_options
def list_(
    *,
    modality: str | None,
    disease: str | None,
    model: str | None,
    organ: str | None,
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """List studies in the order of the review's references."""
    from medge.output import write_page
    from medge.pages.studies import list_columns, list_object, list_rows, select_studies

    form = "json" if as_json else form
    found = select_studies(modality=modality, disease=disease, model=model, organ=organ)
    write_page(form, list_object(found), list_rows(found, form), output, list_columns(form))


@command.command(short_help="Everything that is known of one study.")
@click.argument("ref")
@output_options
def show(*, ref: str, form: str, as_json: bool, output: Path | None) -> None:
    """Show study REF, the number of a reference in the review, 28 to 107."""
    from medge.output import write_page
    from medge.pages.studies import study_object, study_rows
    from medge.profiles.study import find_study

    found = find_study(ref)
    write_page("json" if as_json else form, study_object(found), study_rows(found), output)


@command.command(short_help="The review's shares, counted again.")
@output_options
def summary(*, form: str, as_json: bool, output: Path | None) -> None:
    """Count the review's shares again from its studies, beside the figures that it prints."""
    from medge.output import write_page
    from medge.pages.studies import SUMMARY_COLUMNS, summary_object, summary_rows
    from medge.profiles.shares import shares

    found = shares()
    write_page(
        "json" if as_json else form,
        summary_object(found),
        summary_rows(found),
        output,
        SUMMARY_COLUMNS,
    )
