"""`medge export`: turn a trained network into a bundle."""

from __future__ import annotations

import sys
from typing import Any

import click

from medge.verbs.options import EXISTING, format_options


@click.command(short_help="Turn a trained network into a bundle.")
@click.argument("source", required=False)
@click.option("-o", "--out", type=EXISTING, metavar="B.medge", help="The bundle.")
@click.option(
    "--weights",
    type=EXISTING,
    metavar="FILE",
    help="safetensors, or a state dict.",
)
@click.option("--spec", type=EXISTING, metavar="FILE", help="What the network cannot say.")
@click.option("--classes", type=EXISTING, metavar="FILE", help="One class a line.")
@click.option(
    "--samples",
    type=EXISTING,
    metavar="DIR",
    help="Real pictures for parity; not stored.",
)
@click.option("--task", metavar="NAME", help="single-label, multi-label or multi-task.")
@click.option("--name", metavar="NAME", help="The bundle's name, instead of the specification's.")
@click.option("--opset", type=click.IntRange(7, 30), help="Default: 18, or that of the ONNX file.")
@click.option("--random-weights", type=int, metavar="SEED", help="No weights: for benchmarks only.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@click.option("--print-spec", is_flag=True, help="Write a commented specification and stop.")
@format_options
def command(*, print_spec: bool, form: str, as_json: bool, **options: Any) -> None:
    """Turn a trained network into a bundle.

    SOURCE is FILE.onnx, FILE.pt2, timm:NAME, torchvision:NAME, monai:NAME or module.path:callable.
    """
    if print_spec:
        if options["out"] is not None:
            raise click.UsageError("--print-spec writes to stdout; -o names the bundle to make.")
        from medge.exporters.spec_text import COMMENTED_SPEC
        from medge.output import to_stdout

        to_stdout(COMMENTED_SPEC)
        return
    for needed, shown in (("source", "SOURCE"), ("out", "-o B.medge")):
        if options[needed] is None:
            raise click.UsageError(f"Missing {shown}.")

    from medge.exporters.export import ExportRequest, export_bundle
    from medge.output import write_page
    from medge.pages.export import export_object, export_rows

    def told(step: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"{step} ...", err=True)

    report = export_bundle(ExportRequest(**options), told)
    write_page("json" if as_json else form, export_object(report), export_rows(report))
