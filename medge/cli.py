"""The command line: a command parses, calls one function, prints. Only this file catches errors."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

import medge
from medge.console import FORMATS
from medge.errors import InputError, MedgeError, StorageError, UsageError

if TYPE_CHECKING:
    from medge.console import Writer
    from medge.engine.classify import Classifier
    from medge.engine.frames.study import Asked
    from medge.engine.prediction import Result

F = TypeVar("F", bound=Callable[..., Any])

DEMONSTRATION = "demonstration model, not for clinical use"
EXIT_SIGPIPE = 128 + signal.SIGPIPE  # what a shell reports when `head` has read enough


def bundle_option(command: F) -> F:
    """Add ``--bundle``, the same on every verb."""
    return click.option(
        "--bundle",
        metavar="NAME|PATH",
        help="Bundle folder or built-in name. Default: $MEDGE_BUNDLE, else breast-ultrasound.",
    )(command)


def format_options(command: F) -> F:
    """Add ``--format``, ``--json`` and ``-o``, the same on every verb."""
    command = click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write here instead.",
    )(command)
    command = click.option("--json", "as_json", is_flag=True, help="Short for --format json.")(
        command
    )
    return click.option(
        "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True
    )(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(medge.__version__, prog_name="medge")
def cli() -> None:
    """Run medical image classifiers on the hardware at the bedside, and measure what it costs."""


@cli.command()
@click.argument("study", nargs=-1, required=True)
@bundle_option
@click.option("--backend", default="auto", show_default=True, metavar="NAME")
@click.option("--device", default="auto", show_default=True, metavar="NAME")
@click.option("--precision", default="auto", show_default=True, metavar="NAME")
@click.option("--threads", type=click.IntRange(1, 1024), help="Default: all CPUs allowed here.")
@click.option("--partial", is_flag=True, help="Judge the whole frames of a cut-off cine.")
@click.option("--assume-ts", metavar="UID", help="Transfer syntax of files that do not name one.")
@click.option("--allow-gdcm", is_flag=True, help="Decode JPEG Lossless with GDCM, in a worker.")
@click.option("--quiet", is_flag=True, help="No progress, no summary.")
@format_options
def run(
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
        said.closing()
    if worst:
        raise SystemExit(worst)


@cli.command()
@click.argument("bundle", required=False)
@format_options
def inspect(*, bundle: str | None, form: str, as_json: bool, output: Path | None) -> None:
    """Check a BUNDLE, a folder or a built-in name, and show what it says of itself."""
    from medge.bundle_page import bundle_object, bundle_rows
    from medge.engine.bundle import find_bundle, open_bundle

    with open_bundle(find_bundle(bundle)) as opened:
        _say_page("json" if as_json else form, bundle_object(opened), bundle_rows(opened), output)


@cli.command()
@click.argument("source", required=False)
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="B.medge", help="The bundle.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="safetensors, or a state dict.",
)
@click.option(
    "--spec", type=click.Path(path_type=Path), metavar="FILE", help="What the network cannot say."
)
@click.option(
    "--classes", type=click.Path(path_type=Path), metavar="FILE", help="One class a line."
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Real pictures for parity; not stored.",
)
@click.option("--task", metavar="NAME", help="single-label, multi-label or multi-task.")
@click.option("--name", metavar="NAME", help="The bundle's name, instead of the specification's.")
@click.option("--opset", type=click.IntRange(7, 30), help="Default: 18, or that of the ONNX file.")
@click.option("--random-weights", type=int, metavar="SEED", help="No weights: for benchmarks only.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@click.option("--print-spec", is_flag=True, help="Write a commented specification and stop.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
def export(*, print_spec: bool, form: str, as_json: bool, **options: Any) -> None:
    """Turn a trained network into a bundle.

    SOURCE is FILE.onnx, FILE.pt2, timm:NAME, torchvision:NAME, monai:NAME or module.path:callable.
    """
    if print_spec:
        from medge.exporters.spec_text import COMMENTED_SPEC

        _to_stdout(COMMENTED_SPEC)
        return
    for needed, shown in (("source", "SOURCE"), ("out", "-o B.medge")):
        if options[needed] is None:
            raise click.UsageError(f"Missing {shown}.")

    from medge.export_page import export_object, export_rows
    from medge.exporters.export import ExportRequest, export_bundle

    def told(step: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"{step} ...", err=True)

    report = export_bundle(ExportRequest(**options), told)
    _say_page("json" if as_json else form, export_object(report), export_rows(report), None)


def _say_page(
    form: str, said: dict[str, Any], rows: Iterator[tuple[str, str, str]], output: Path | None
) -> None:
    """Write one object for programs, or rows for people, to stdout or to a file."""
    import msgspec

    from medge.bundle_page import COLUMNS
    from medge.console import rows_text

    if form in {"json", "jsonl"}:
        raw = msgspec.json.encode(said)
        text = (msgspec.json.format(raw, indent=2) if form == "json" else raw).decode() + "\n"
    else:
        terminal = output is None and sys.stdout.isatty()
        text = rows_text(form, COLUMNS, rows, terminal=terminal)
    _say(text, output)


def _say(text: str, output: Path | None) -> None:
    """Write one whole text to stdout or to a file."""
    from medge.console import replacing

    if output is None:
        _to_stdout(text)
        return
    with replacing(output) as stream:
        _write(stream.write, text)


def _judge_all(
    classifier: Classifier, study: tuple[str, ...], asked: Asked, sink: Writer, said: _Talk
) -> int:
    """Write a result for every frame; return the exit code of the worst one, 0 when all is well."""
    from medge.engine.frames.find import find

    worst = 0
    sink.start()
    for path in find(study, sys.stdin):
        for result in _contained(classifier, path, asked):
            sink.row(result)
            said.progress(result)
            if result.fault is not None:
                # A bug (1) must not hide behind refused files (3).
                code = result.fault.exit_code
                worst = code if worst == 0 or code == 1 else worst
    sink.end()
    if said.count == 0:
        raise InputError(
            "nothing-found",
            "no DICOM, PNG, JPEG or NPY file in what was given. Name a file or another folder.",
        )
    return worst


def _contained(classifier: Classifier, path: Path, asked: Asked) -> Iterator[Result]:
    """Judge one file; a bug met on it is told as such and does not stop the others."""
    try:
        yield from classifier.stream(path, asked)
    except Exception as error:  # a bug in medge: told with exit code 1, never hidden
        yield classifier.failed(path, error)


class _Talk:
    """What is said on stderr, around the results."""

    def __init__(self, *, quiet: bool, people: bool) -> None:
        self._live = not quiet and sys.stderr.isatty() and not sys.stdout.isatty()
        self._people = people and not quiet
        self.count = 0
        self.refused = 0

    def opening(self, classifier: Classifier) -> None:
        manifest = classifier.bundle.manifest
        if manifest.demonstration and not self._people:  # a table says it in its heading
            click.echo(f"{manifest.name} {manifest.version}: {DEMONSTRATION}.", err=True)
        if self._people:
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
        if self._live:
            click.echo(f"\r{self.count} results, {self.refused} refused ", err=True, nl=False)

    def closing(self) -> None:
        if self._live:
            click.echo("", err=True)
        if self._people:
            click.echo(f"{self.count} results, {self.refused} refused; times in ms", err=True)


@contextmanager
def _sink(form: str, output: Path | None, classifier: Classifier) -> Iterator[Writer]:
    """Open the place for results: stdout, or a file that appears whole or not at all."""
    from medge.console import Heading, replacing, writer

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
        yield writer(form, _to_stdout, heading, terminal=sys.stdout.isatty())
        return
    with replacing(output) as stream:
        yield writer(form, lambda text: _write(stream.write, text), heading, terminal=False)


def _to_stdout(text: str) -> None:
    stream = sys.stdout.buffer
    stream.write(text.encode("utf-8", "surrogateescape"))
    stream.flush()  # a reader of a pipe sees each result when it is known


def _write(write: Callable[[bytes], int], text: str) -> None:
    write(text.encode("utf-8", "surrogateescape"))


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def main() -> NoReturn:
    """Run the command line and leave with the documented exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        cli.main(standalone_mode=False)
        code: Any = 0
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.Abort:
        code = 128 + signal.SIGINT
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except click.ClickException as error:
        error.show()
        code = UsageError.exit_code
    except MedgeError as error:
        click.echo(str(error), err=True)
        code = error.exit_code
    except BrokenPipeError:
        code = EXIT_SIGPIPE
    except OSError as error:
        # What reaches here is stdout: files of studies and bundles have errors of their own.
        click.echo(f"E6 output: {error.strerror or type(error).__name__}.", err=True)
        code = StorageError.exit_code
    except SystemExit as error:
        code = error.code
    _flush_or_forget()
    sys.exit(code)


def _flush_or_forget() -> None:
    """Keep the interpreter from complaining at exit about a pipe that is already closed."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
