"""The command line: finds the verb that was typed. Only this file catches errors."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

import click

import medge
from medge.errors import MedgeError, StorageError, UsageError

VERBS = (
    "run",
    "inspect",
    "export",
    "quantize",
    "compile",
    "drift",
    "profile",
    "bench",
    "compare",
    "report",
    "results",
    "targets",
    "studies",
    "estimate",
    "doctor",
)
STDERR = 2  # the last of the three streams
EXIT_SIGPIPE = 128 + signal.SIGPIPE  # what a shell reports when `head` has read enough


class Verbs(click.Group):
    """Imports a verb when it is typed, so that none makes another slow."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which they are used."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import ``medge.verbs.NAME`` and return its command; None for an unknown verb."""
        if cmd_name not in VERBS:
            return None
        found = importlib.import_module(f"medge.verbs.{cmd_name}").command
        if not isinstance(found, click.Command):
            raise TypeError(f"medge.verbs.{cmd_name} has no command")
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; click itself would tell a reader that left as exit code 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise SystemExit(EXIT_SIGPIPE) from None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(medge.__version__, prog_name="medge")
def cli() -> None:
    """Run medical image classifiers on the hardware at the bedside, and measure what it costs."""


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def main() -> NoReturn:
    """Run the command line and leave with the documented exit code."""
    _open_streams()
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
    except ImportError as error:
        if not isinstance(error.__cause__, MedgeError):  # the kernels', which refuse MEDGE_KERNELS
            raise
        click.echo(str(error.__cause__), err=True)
        code = error.__cause__.exit_code
    except OSError as error:
        # What reaches here is stdout: files of studies and bundles have errors of their own.
        click.echo(f"E6 output: {error.strerror or type(error).__name__}.", err=True)
        code = StorageError.exit_code
    except SystemExit as error:
        code = error.code
    _flush_or_forget()
    sys.exit(code)


def _open_streams() -> None:
    """Open what is closed of stdin and stderr; end where stdout is.

    The next file that is opened would take the place of a closed stream, and get what a library
    writes there.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(STDERR, "w", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        click.echo("E6 output: stdout is closed.", err=True)
        sys.exit(StorageError.exit_code)


def _flush_or_forget() -> None:
    """Keep the interpreter from complaining at exit about a pipe that is already closed."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
