"""`medge targets`: the catalog of devices, and which of them is nearest to this machine."""

from __future__ import annotations

from pathlib import Path

import click

from medge.verbs.group import WithDefault
from medge.verbs.options import FiniteRange, output_options


@click.group(cls=WithDefault, name="targets", short_help="Devices: published figures and studies.")
def command() -> None:
    """Show the catalog of devices that a bundle may be planned for.

    It holds what the studies of the review used and what is sold now. Its figures are published
    ones, each row with its source; nothing in it was measured by medge.
    """


@command.command("list", short_help="One row a device; meant when no verb is typed.")
@click.option("--arch", metavar="NAME", help="Architecture or compute capability, as Turing, 7.5.")
@click.option("--kind", type=click.Choice(["gpu", "cpu"]), help="Only GPUs, or only CPUs.")
@click.option("--vendor", metavar="NAME", help="As NVIDIA, Intel.")
@click.option("--min-memory", type=FiniteRange(0), metavar="GB", help="With at least this memory.")
@click.option("--in-review", is_flag=True, help="Only devices that a study of the review names.")
@output_options
def list_(
    *,
    arch: str | None,
    kind: str | None,
    vendor: str | None,
    min_memory: float | None,
    in_review: bool,
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """List devices by kind, vendor and architecture, the oldest first.

    Most CPUs have no memory of their own, and --min-memory leaves them out.
    """
    from medge.output import write_page
    from medge.pages.targets import list_columns, list_object, list_rows, select_targets

    form = "json" if as_json else form
    found = select_targets(
        arch=arch, kind=kind, vendor=vendor, min_memory_gb=min_memory, in_review=in_review
    )
    write_page(form, list_object(found), list_rows(found, form), output, list_columns(form))


@command.command(short_help="Everything that is known of one device.")
@click.argument("target_id", metavar="ID")
@output_options
def show(*, target_id: str, form: str, as_json: bool, output: Path | None) -> None:
    """Show the device ID: its figures, their source, and the studies that used it."""
    from medge.output import write_page
    from medge.pages.target import target_object, target_rows
    from medge.profiles.target import find_target

    found = find_target(target_id)
    write_page("json" if as_json else form, target_object(found), target_rows(found), output)


@command.command(short_help="The devices that are nearest to this machine.")
@output_options
def match(*, form: str, as_json: bool, output: Path | None) -> None:
    """Show which devices of the catalog are nearest to this machine's CPU and NVIDIA GPUs.

    With each stands why it is near, how it differs, and which studies of the review used it or its
    architecture.
    """
    from medge.output import write_page
    from medge.pages.match import MATCH_COLUMNS, Part, match_object, match_rows
    from medge.profiles.machine import cards_of, cpu_of
    from medge.profiles.match import match_cpu, match_gpu

    cpu = cpu_of()
    found: list[Part] = [("cpu", cpu, match_cpu(cpu))]
    for number, card in enumerate(cards_of()):
        part = f"gpu {number}"
        found.append((part, card, match_gpu(card, part)))
    write_page(
        "json" if as_json else form, match_object(found), match_rows(found), output, MATCH_COLUMNS
    )
