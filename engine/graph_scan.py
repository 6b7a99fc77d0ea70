"""Judge ONNX bytes before a runtime sees them: whole in themselves, and every weight a number."""

from __future__ import annotations

from medge import _native
from medge.errors import BundleError

_RULES = {
    1: ("not-onnx", "is not an ONNX graph, or is damaged. Export the bundle again."),
    2: ("external-data", "keeps data in another file. Export it with all weights inside."),
    3: ("weights-not-finite", "holds NaN or Inf. Train or export the network again."),
    4: ("engine", "is a compiled engine, which is foreign code. Export the network itself."),
}


def check_graph(file: str, model: bytes) -> None:
    """Refuse what must not be in a bundle's graph; about 0.2 ms for each megabyte.

    NaN is refused everywhere, Inf in tensors of several values: one Inf alone may stand for
    "no limit", as in padding before a maximum.

    Raises
    ------
    BundleError
        Rule ``not-onnx``, ``external-data``, ``weights-not-finite`` or ``engine``; the message
        names the first such tensor and how many of its values are not finite.
    """
    status, name, count = _native.scan_graph(model)
    if status == 0:
        return
    rule, what = _RULES[status]
    tensor = f" {name[:60].decode('utf-8', 'replace')!a}" if name else ""
    found = f" ({count} values)" if count else ""
    where = f"{file}: tensor{tensor}{found}" if status in (2, 3) else file
    raise BundleError(rule, f"{where} {what}")
