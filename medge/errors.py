"""Every error medge raises on purpose, each with the exit code and the rule it belongs to."""

from __future__ import annotations

from typing import ClassVar


class MedgeError(Exception):
    """What was wrong, found against expected, and the next step.

    Parameters
    ----------
    rule
        Short stable name of the broken rule (``"truncated"``); it is part of the interface, and
        docs/errors.md lists all of them.
    message
        One or two sentences for the person at the device. Never holds values read from a patient's
        file, except numbers and enumerated terms that describe the picture itself.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message

    def __str__(self) -> str:
        return f"E{self.exit_code} {self.rule}: {self.message}"


class UsageError(MedgeError):
    """The command line or the configuration asks for something that makes no sense."""

    exit_code = 2


class InputError(MedgeError):
    """A study, file or frame is refused; the others go on."""

    exit_code = 3


class BundleError(MedgeError):
    """A bundle is refused before anything in it is used."""

    exit_code = 4


class BackendError(MedgeError):
    """A runtime, a device or a precision that was asked for is not available here."""

    exit_code = 5


class StorageError(MedgeError):
    """A result could not be written; nothing half-written is left behind."""

    exit_code = 6


class DeadlineError(MedgeError):
    """A result came too late for the deadline that was asked for."""

    exit_code = 7


class GateError(MedgeError):
    """A gate failed: drift, regression or self-test."""

    exit_code = 8
