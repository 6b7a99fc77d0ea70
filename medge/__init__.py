"""medge: run a trained medical image classifier on the hardware at the bedside.

Public names are imported when first asked for, so ``import medge`` costs almost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Classifier", "MedgeError", "Result", "__version__", "open"]

if TYPE_CHECKING:
    from medge.engine.classify import Classifier
    from medge.engine.classify import open_classifier as open  # the public verb
    from medge.engine.prediction import Result
    from medge.errors import MedgeError

_WHERE = {
    "Classifier": ("medge.engine.classify", "Classifier"),
    "MedgeError": ("medge.errors", "MedgeError"),
    "Result": ("medge.engine.prediction", "Result"),
    "open": ("medge.engine.classify", "open_classifier"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    import importlib

    if name not in _WHERE:
        raise AttributeError(f"module 'medge' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value
