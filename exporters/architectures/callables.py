"""Networks that a function of the user's own code builds."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import torch

from medge.errors import UsageError
from medge.exporters.architectures.arguments import call
from medge.exporters.quiet import quiet

if TYPE_CHECKING:
    from medge.exporters.spec import Spec


def build(name: str, spec: Spec) -> tuple[torch.nn.Module, str]:
    """Import ``module.path`` and call what stands after the colon; the code is the user's own.

    The working directory is searched last, so that nothing in it can stand in for a library.

    Raises
    ------
    UsageError
        Rule ``source-unknown``: no such module or attribute.
    """
    module_name, attribute = name.split(":")
    here = os.getcwd()
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        with quiet():
            found: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            "source-unknown",
            f"{name}: {type(error).__name__}. Modules are looked for in the environment of this "
            "Python, then in the working directory; check the spelling of both parts.",
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    if not callable(found):
        raise UsageError(
            "source-unknown",
            f"{name} is a {type(found).__name__}, expected a function or class that builds the "
            "network.",
        )
    return call(name, found, spec.arguments), str(torch.__version__)
