"""`medge profile`: what a bundle costs on this device, in figures that can be signed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medge.errors import DeadlineError, UsageError
from medge.verbs.options import EXISTING, FiniteRange, output_options
from medge.verbs.scenario_options import hold_all, late_code, scenario_options, scenarios_of
from medge.verbs.soak_options import duty_of, soak_options

if TYPE_CHECKING:
    from medge.bench.profile.run import Profiled
    from medge.engine.bundle import Bundle
    from medge.engine.select import Choice

QUICK_S = 6.0
QUICK_COLD_STARTS = 2


@click.command(short_help="Measure what a bundle costs on this device.")
@click.argument("bundle", required=False, metavar="[B]")
@click.option("--data", type=EXISTING, metavar="PATH", help="Pictures to time, and to judge on.")
@click.option("--labels", type=EXISTING, metavar="FILE", help="CSV: file, output, subgroups.")
@click.option("--backend", default="auto", metavar="NAME", help="auto, onnxruntime or openvino.")
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, nvidia:0, GPU, ...")
@click.option("--precision", default="auto", metavar="NAME", help="auto, or one of the bundle's.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Default: all CPUs allowed here.")
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    metavar="SPEC",
    help="BACKEND[:PRECISION[:THREADS]]; several are measured in the same rounds.",
)
@click.option(
    "--time-budget",
    "budget_s",
    type=FiniteRange(1),
    metavar="S",
    help="Seconds of timed calls, of all candidates together. [default: 45]",
)
@click.option(
    "--cold-starts",
    type=click.IntRange(0, 1000),
    metavar="N",
    help="New processes of each candidate. [default: 5]",
)
@click.option("--quick", is_flag=True, help="A first look in some 15 s, which states less.")
@click.option("--full", is_flag=True, help="Also tail, operations, load, pauses: 8 min and more.")
@soak_options
@scenario_options
@click.option("--no-sensors", is_flag=True, help="Read no clocks, temperatures and power.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the order.")
@output_options
def command(
    *,
    bundle: str | None,
    data: Path | None,
    labels: Path | None,
    backend: str,
    device: str,
    precision: str,
    threads: int | None,
    candidates: tuple[str, ...],
    budget_s: float | None,
    cold_starts: int | None,
    quick: bool,
    full: bool,
    soak: str | None,
    duty: str | None,
    no_sensors: bool,
    seed: int,
    form: str,
    as_json: bool,
    output: Path | None,
    **scenarios: Any,
) -> None:
    """Measure B on this device: latency by stages, cold start, memory, energy, and its drift.

    B is a bundle's folder or built-in name, the same as for `medge run` if left out. Without a
    candidate it is measured as that would run it. Each candidate has a process of its own.
    docs/profile.md says how and why.
    """
    from medge.bench.profile.request import BUDGET_NS, COLD_STARTS, ProfileRequest
    from medge.bench.profile.run import beside_earlier, keep, profile
    from medge.bench.store import Store
    from medge.engine.bundle import find_bundle, open_bundle
    from medge.output import check_output, write_page
    from medge.pages.profile import profile_object, profile_rows

    if labels is not None and data is None:
        raise click.UsageError("--labels needs --data, the folder of the pictures.")
    if quick and full:
        raise click.UsageError("--quick and --full exclude each other. Leave one of them out.")
    soaked = duty_of(soak, duty)
    asked_scenarios = scenarios_of(**scenarios)
    usual_s = QUICK_S if quick else BUDGET_NS / 1e9
    usual_starts = QUICK_COLD_STARTS if quick else COLD_STARTS
    check_output(output)
    with open_bundle(find_bundle(bundle)) as opened:
        with Store.open():
            pass  # hours are not spent on what cannot be kept
        asked = ProfileRequest(
            choices=_choices(
                opened,
                candidates,
                backend=backend,
                device=device,
                precision=precision,
                threads=threads,
            ),
            data=data,
            labels=labels,
            budget_ns=round(1e9 * (usual_s if budget_s is None else budget_s)),
            cold_starts=usual_starts if cold_starts is None else cold_starts,
            overhead=not quick,
            energy=not quick,
            sensors=not no_sensors,
            soak=soaked,
            scenarios=asked_scenarios,
            full=full,
            seed=seed,
            command=_typed(opened),
        )
        profiled = beside_earlier(profile(opened, asked, _told))
        numbers = keep(profiled, opened)
        code = _worst(profiled) or late_code(profiled, hold=scenarios["hold"])
        write_page(
            "json" if as_json else form,
            profile_object(opened, profiled, numbers, code),
            profile_rows(opened, profiled, numbers),
            output,
        )
    if code == DeadlineError.exit_code:
        hold_all(profiled)
    if code:
        raise SystemExit(code)


def _choices(
    bundle: Bundle,
    candidates: tuple[str, ...],
    *,
    backend: str,
    device: str,
    precision: str,
    threads: int | None,
) -> tuple[Choice, ...]:
    """Return what is to be measured; none leaves it to what `medge run` would use."""
    from medge.engine.select import choose

    if not candidates:
        if (backend, device, precision, threads) == ("auto", "auto", "auto", None):
            return ()
        return (choose(bundle, backend, device, precision, threads),)
    if (backend, precision, threads) != ("auto", "auto", None):
        raise UsageError(
            "candidate",
            "--candidate names backend, precision and threads itself. Leave out --backend, "
            "--precision and --threads, or --candidate.",
        )
    return tuple(_choice(bundle, spec, device) for spec in dict.fromkeys(candidates))


def _choice(bundle: Bundle, spec: str, device: str) -> Choice:
    from medge.engine.select import choose

    backend, _, rest = spec.partition(":")
    precision, _, threads = rest.partition(":")
    if not backend or (threads and not (threads.isascii() and threads.isdecimal())):
        raise UsageError(
            "candidate",
            f"{spec[:60]!a} is no candidate. Write BACKEND, BACKEND:PRECISION or "
            "BACKEND:PRECISION:THREADS, such as openvino:bf16:2.",
        )
    return choose(bundle, backend, device, precision or "fp32", int(threads) if threads else None)


def _typed(bundle: Bundle) -> tuple[str, ...]:
    """Return the command line for the evidence; paths may hold names of patients, and stay out."""
    context = click.get_current_context()
    words = ["medge", "profile", bundle.manifest.name]
    for parameter in context.command.params:
        if parameter.name in ("bundle", "output", "form", "as_json"):
            continue
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[parameter.name or ""]
        for each in value if isinstance(value, tuple) else (value,):
            words.append(parameter.opts[0])
            if not isinstance(each, bool):
                words.append("PATH" if isinstance(each, Path) else str(each))
    return tuple(words)


def _worst(profiled: Profiled) -> int:
    """Return the exit code of the worst candidate, 0 when all were measured; 130 on Ctrl-C."""
    if profiled.interrupted:
        return 130
    codes = [failure.fault.exit_code for failure in profiled.failures]
    return 1 if 1 in codes else max(codes, default=0)


def _told(step: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"{step} ...", err=True)
