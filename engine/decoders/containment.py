"""Containment: whatever a codec raises becomes one typed refusal, without the codec's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from medge.errors import InputError, MedgeError

P = ParamSpec("P")
T = TypeVar("T")


def contained(name: str, codec: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a codec. A failure of any class becomes InputError ``decode-failed`` or ``memory``.

    The text of the codec's exception is dropped: it may quote bytes of the file. Even classes
    outside Exception are caught, because a panic in Rust code arrives as one.
    """
    try:
        return codec(*args, **kwargs)
    except (KeyboardInterrupt, SystemExit, MedgeError):
        raise
    except MemoryError:
        raise InputError(
            "memory",
            f"{name} found no memory for this frame. Close other programs or use a machine with "
            "more memory.",
        ) from None
    except BaseException as failure:  # codecs in Rust panic with one that is no Exception
        raise InputError(
            "decode-failed",
            f"{name} could not decode the frame ({type(failure).__name__}): its data are "
            "damaged. Obtain the file again.",
        ) from None
