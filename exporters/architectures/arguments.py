"""Call a constructor with the arguments of a specification, and say what is wrong with them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch.nn import Module

from medge.errors import UsageError
from medge.exporters.quiet import quiet

PLAIN_FAULTS = (TypeError, ValueError, RuntimeError, AssertionError, KeyError, AttributeError)


def accepted(build: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the offered arguments that ``build`` has a parameter for."""
    named = inspect.signature(build).parameters
    return {name: value for name, value in offered.items() if name in named}


def call(what: str, build: Callable[..., Any], arguments: Mapping[str, Any]) -> Module:
    """Return the network ``build(**arguments)``.

    Raises
    ------
    UsageError
        Rule ``source-arguments``: an argument that ``build`` does not take, or does not accept;
        rule ``source-result``: what it returned is no ``torch.nn.Module``.
    """
    _check_names(what, build, arguments)
    try:
        with quiet():
            network = build(**arguments)
    except PLAIN_FAULTS as error:
        said = ", ".join(f"{k}={v!r}" for k, v in arguments.items())
        raise UsageError(
            "source-arguments",
            f"{what} could not be built with ({said[:300]}): {type(error).__name__}. Set what it "
            "needs under [arguments] in the specification.",
        ) from error
    if not isinstance(network, Module):
        raise UsageError(
            "source-result",
            f"{what} returned {type(network).__name__}, expected torch.nn.Module. Name a function "
            "or class that builds the network.",
        )
    return network


def _check_names(what: str, build: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(build).parameters
    except ValueError:  # written in C, and silent about its arguments
        return
    named = {
        k for k, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = sorted(set(arguments) - named)
    if unknown and not open_ended:
        near = difflib.get_close_matches(unknown[0], named, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(sorted(named))}."
        raise UsageError("source-arguments", f"{what} takes no argument {unknown[0]!a}; {hint}")
