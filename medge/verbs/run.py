"""`medge run`: classify every frame of every study; one bad file stops nothing."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from medge.errors import InputError
from medge.verbs.options import bundle_option, output_options

if TYPE_CHECKING:
    from medge.console import Writer
    from medge.engine.classify import Classifier
    from medge.engine.frames.study import Asked
    from medge.engine.prediction import Result

DEMONSTRATION = "demonstration model, not for clinical use"
BUG = 1


@click.command(short_help="Classify studies: files, folders, lists.")
@click.argument("study", nargs=-1, required=True)
@bundle_option
@click.option("--backend", default="auto", metavar="NAME", help="auto, or one of `medge doctor`.")
@click.option(
    "--device",
    default="auto",
    metavar="NAME",
    help="auto, cpu, nvidia:0, nvidia:0,1, nvidia:all; with OpenVINO also GPU.",
)
@click.option("--precision", default="auto", metavar="NAME", help="auto, or one of the bundle's.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Default: all CPUs allowed here.")
@click.option("--partial", is_flag=True, help="Judge the whole frames of a cut-off cine.")
@click.option("--assume-ts", metavar="UID", help="Transfer syntax of files that do not name one.")
@click.option("--allow-gdcm", is_flag=True, help="Decode JPEG Lossless with GDCM, in a worker.")
@click.option("--quiet", is_flag=True, help="No progress, no summary.")
@output_options
def command(
    *,
    study: tuple[str, ...],
    bundle: str | None,
    backend: str,
    device: str,
    precision: str,
    threads: int | None,
    partial: bool,
    assume_ts: str | None,
    allow_gdcm: bool,
    quiet: bool,
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Classify every frame of each STUDY: files, folders, or - for a list of paths on stdin.

    Exit code 3 when any file or frame was refused; the others are judged all the same.
    """
    from medge.engine.classify import open_classifier

    form = "json" if as_json else form
    with (
        open_classifier(
            bundle, backend=backend, device=device, precision=precision, threads=threads
        ) as classifier,
        _sink(form, output, classifier) as sink,
    ):
        from medge.engine.frames.study import Asked

        asked = Asked(
            gray_only=classifier.wants_gray,
            allow_gdcm=allow_gdcm,
            partial=partial,
            assume_syntax=assume_ts,
        )
        said = _Talk(quiet=quiet, people=form == "table")
        said.opening(classifier)
        worst = _judge_all(classifier, study, asked, sink, said)
        said.closing(classifier)
    if worst:
        raise SystemExit(worst)


def _judge_all(
    classifier: Classifier, study: tuple[str, ...], asked: Asked, sink: Writer, said: _Talk
) -> int:
    """Write a result for every frame; return the exit code of the worst one, 0 when all is well."""
    from medge.engine.frames.find import find

    worst = 0
    sink.start()
    with closing(classifier.judge_all(find(study, sys.stdin), asked)) as results:
        for result in results:
            sink.row(result)
            said.progress(result)
            if result.fault is not None:
                worst = _worse(worst, result.fault.exit_code)
    sink.end()
    if said.count == 0:
        raise InputError(
            "nothing-found",
            "no DICOM, PNG, JPEG or NPY file in what was given. Name a file or another folder.",
        )
    return worst


def _worse(one: int, other: int) -> int:
    """Return the code to tell: a bug hides neither behind a runtime (5) nor behind a file (3)."""
    return BUG if BUG in (one, other) else max(one, other)


class _Talk:
    """What is said on stderr, around the results."""

    def __init__(self, *, quiet: bool, people: bool) -> None:
        self._began_ns = time.perf_counter_ns()
        self._live = not quiet and sys.stderr.isatty() and not sys.stdout.isatty()
        self._people = people and not quiet
        self.count = 0
        self.refused = 0
        self._of_device: Counter[str] = Counter()

    def opening(self, classifier: Classifier) -> None:
        manifest = classifier.bundle.manifest
        if manifest.demonstration and not self._people:  # a table says it in its heading
            click.echo(f"{manifest.name} {manifest.version}: {DEMONSTRATION}.", err=True)
        for note in classifier.session.notes:
            click.echo(note, err=True)
        unproven = _unproven(classifier)
        if unproven is not None:  # whatever the format, and however quiet
            click.echo(unproven, err=True)
        if self._people:
            self._began_ns = time.perf_counter_ns()
            for reason in classifier.choice.reasons:
                click.echo(reason, err=True)
            tested = classifier.tested
            if tested.cases:
                click.echo(
                    f"self-test: {tested.cases} golden cases differ by at most "
                    f"{tested.max_abs:.1g}; {tested.tolerance:.1g} is allowed",
                    err=True,
                )

    def progress(self, result: Result) -> None:
        self.count += 1
        self.refused += result.fault is not None
        self._of_device[result.device] += result.fault is None
        if self._live:
            click.echo(f"\r{self.count} results, {self.refused} refused ", err=True, nl=False)

    def closing(self, classifier: Classifier) -> None:
        if self._live:
            click.echo("", err=True)
        if self._people:
            click.echo(f"{self.count} results, {self.refused} refused", err=True)
        if self._people and len(self._of_device) > 1:
            self._rates()
        for device in classifier.left_out:  # whatever the format, and however quiet
            click.echo(f"{device} failed again and again and was left out.", err=True)

    def _rates(self) -> None:
        """Say what each device has done, and all together, from the first file to the last."""
        seconds = (time.perf_counter_ns() - self._began_ns) / 1e9
        counts = {**self._of_device, "together": sum(self._of_device.values())}
        for who, count in counts.items():
            rate = f"{count / seconds:.4g} a second, files included" if seconds else "-"
            click.echo(f"{who}: {count} results, {rate}", err=True)


def _unproven(classifier: Classifier) -> str | None:
    """Say what no passport of this device tier vouches for."""
    from medge.engine.passport import unproven

    if not classifier.session.answers:
        return None
    return unproven(classifier.bundle, classifier.choice, classifier.session.backend_version)


@contextmanager
def _sink(form: str, output: Path | None, classifier: Classifier) -> Iterator[Writer]:
    """Open the place for results: stdout, or a file that appears whole or not at all."""
    from medge.console import Heading, writer
    from medge.output import replacing, to_stdout

    manifest = classifier.bundle.manifest
    heading = Heading(
        bundle=f"{manifest.name} {manifest.version}",
        device=classifier.session.device,
        backend=classifier.session.backend,
        precision=classifier.session.precision,
        label_width=max(len(label) for output in manifest.outputs for label in output.classes),
        warning=DEMONSTRATION if manifest.demonstration else "",
    )
    if output is None:
        yield writer(form, to_stdout, heading, terminal=sys.stdout.isatty())
        return
    with replacing(output) as stream:
        yield writer(form, _into(stream), heading, terminal=False)


def _into(stream: BinaryIO) -> Callable[[str], None]:
    from medge.output import encoded

    def write(text: str) -> None:
        stream.write(encoded(text))

    return write
