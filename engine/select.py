"""Choose backend, device, variant, precision and threads, and say why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medge.engine.backends import BACKENDS, OPT_IN, backend_class
from medge.engine.backends.presence import absence, gpu_absence, installed_version
from medge.engine.sealed import is_sealed, read_sealed
from medge.errors import BackendError, StorageError, UsageError
from medge.profiles.cuda_gpus import devices_offered, identity_of_device, require_gpus
from medge.profiles.device import allowed_cores, allowed_cpus
from medge.profiles.device_names import NULL, NVIDIA, devices_typed

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle
    from medge.engine.manifest import Manifest
    from medge.engine.sealed import SealedChoice

AUTO = "auto"
DEFAULT_BACKEND = "onnxruntime"
RUNTIME_PRECISIONS = {
    "bf16": ("openvino",),
    "fp16": ("openvino",),
}  # not a graph of their own, and which backends can
# Which backends run on such a GPU, the default first; and which run on nothing else.
ON_NVIDIA = ("onnxruntime", "tensorrt", "tensorrt-rtx")
GPU_ONLY = ("tensorrt", "tensorrt-rtx", *OPT_IN)


@dataclass(frozen=True, slots=True)
class Choice:
    """How a bundle is run; every part is stated, and ``reasons`` tells why it was chosen."""

    backend: str
    device: str  # as the backend names it
    variant: str  # which graph of the bundle
    precision: str  # what the runtime computes in: "fp32" or "bf16"
    threads: int  # of all streams together
    reasons: tuple[str, ...] = ()
    streams: int = 1  # calls that run at once
    batch: int = 1  # pictures in one call
    sealed: bool = False  # `medge compile` chose it, so that its engine is kept
    devices: tuple[str, ...] = ()  # all that share the pictures; empty where ``device`` is alone

    @property
    def precision_name(self) -> str:
        """Variant and runtime precision in one word: "fp32", "int8", "bf16", "int8+bf16"."""
        if self.precision == "fp32":
            return self.variant
        return self.precision if self.variant == "fp32" else f"{self.variant}+{self.precision}"


def choose(
    bundle: Bundle,
    backend: str = AUTO,
    device: str = AUTO,
    precision: str = AUTO,
    threads: int | None = None,
    *,
    several: bool = False,
) -> Choice:
    """Return how to run a bundle here: as it was sealed, unless anything else is asked for.

    A choice that `medge compile` sealed holds for this machine's device, the runtime's version and
    at least as many CPUs; when one of these changed, the default runs, and the reasons say why.

    Parameters
    ----------
    backend, device, precision
        A name, or ``auto``. ``precision`` is a variant of the bundle, or ``bf16``.
    threads
        Threads of the runtime, 1 to 1024; None takes one for each core allowed to this process.
    several
        Whether ``device`` may be several GPUs, ``nvidia:0,1`` or ``nvidia:all``, that share the
        work (``spread.open_spread``).

    Raises
    ------
    BackendError
        What was asked for is not here; the message says what to do. Nothing is replaced.
    UsageError
        ``threads`` makes no sense, or several devices are named where one is meant.
    """
    unmeasured = "no choice was measured here (`medge compile` does)"
    if (backend, device, precision, threads) == (AUTO, AUTO, AUTO, None):
        sealed, unmeasured = _sealed(bundle.digest)
        if sealed is not None:
            return _as_sealed(sealed)
    typed = (AUTO,) if device == AUTO else devices_typed(device, devices_offered)
    if len(typed) > 1 and not several:
        raise UsageError(
            "device-list",
            f"This is done on one device, and --device names {len(typed)}. Name one: `medge run` "
            "spreads files over several, `medge bench` measures them.",
        )
    backend, why_backend = _backend(backend, precision, unmeasured, typed[0])
    devices, why_device = _devices(backend, typed)
    variant, runtime, why_precision = _precision(bundle.manifest, backend, precision)
    threads, why_threads = _threads(threads)
    return Choice(
        backend=backend,
        device=devices[0],
        devices=devices if len(devices) > 1 else (),
        variant=variant,
        precision=runtime,
        threads=threads,
        reasons=(why_backend, why_device, why_precision, why_threads),
    )


def _sealed(bundle_sha256: str) -> tuple[SealedChoice | None, str]:
    """Return the sealed choice if it still holds here, and if not, why."""
    try:
        sealed = read_sealed(bundle_sha256)
    except StorageError:  # what cannot be read must not keep a patient waiting
        return None, "the sealed choice cannot be read (`medge compile` seals a new one)"
    if sealed is None and is_sealed(bundle_sha256):
        return None, "the sealed choice is damaged; run `medge compile` again"
    if sealed is None:
        return None, "no choice was measured here (`medge compile` does)"
    changed = _changed(sealed)
    if changed is not None:
        return None, f"the sealed choice {changed}; run `medge compile` again"
    return sealed, ""


def _changed(sealed: SealedChoice) -> str | None:
    """Return what is no longer as it was when a choice was measured, None when all is."""
    backend, version = sealed.chosen.backend, sealed.backend_version
    if sealed.device != identity_of_device(sealed.chosen.device):
        return "was measured on another " + ("CPU" if sealed.chosen.device == "cpu" else "device")
    if absence(backend) is not None:
        return f"needs {backend}, which is not installed"
    found = installed_version(backend)
    if version != found:
        return f"was measured with {backend} {version}, here is {found}"
    if sealed.chosen.threads > allowed_cpus():
        return f"needs {sealed.chosen.threads} CPUs, fewer are allowed"
    return None


def _as_sealed(sealed: SealedChoice) -> Choice:
    chosen = sealed.chosen
    timed = sum(row.picture_ns is not None for row in sealed.rows)
    reasons = [
        f"backend {chosen.backend}: sealed on {sealed.date}, the best {sealed.goal} of {timed} "
        "candidates timed here"
    ]
    if sealed.drift is not None:
        drift = sealed.drift
        reasons.append(
            f"precision {drift.precision}: drift {drift.verdict}, {drift.flips} of {drift.cases} "
            "decisions differ from fp32"
        )
    return Choice(
        backend=chosen.backend,
        device=chosen.device,
        variant=chosen.variant,
        precision=chosen.precision,
        threads=chosen.threads,
        streams=chosen.streams,
        batch=chosen.batch,
        sealed=True,
        reasons=tuple(reasons),
    )


def _backend(asked: str, precision: str, unmeasured: str, device: str) -> tuple[str, str]:
    if asked == AUTO and _kind(device) == NULL:
        return NULL, f"backend {NULL}: the only one with the device {device}"
    if asked == AUTO and _kind(device) == NVIDIA:
        return _nvidia_backend()
    if asked != AUTO:
        backend_class(asked)
        missing = gpu_absence(asked) if _kind(device) == NVIDIA else absence(asked)
        if missing is not None:
            raise missing
        return asked, f"backend {asked}: asked for"
    able = RUNTIME_PRECISIONS.get(precision, (DEFAULT_BACKEND,))
    missing = absence(able[0])
    if missing is not None:
        raise missing
    others = ", ".join(_why_not(name) for name in BACKENDS if name not in (able[0], "null"))
    because = "the default" if precision not in RUNTIME_PRECISIONS else f"it runs {precision}"
    return able[0], f"backend {able[0]}: {because}; {unmeasured}; not {others}"


def _why_not(name: str) -> str:
    return f"{name} ({'not installed' if absence(name) else 'installed, but not the default'})"


def _nvidia_backend() -> tuple[str, str]:
    """Return the default on an NVIDIA GPU: the first of ``ON_NVIDIA`` that can use one."""
    missing = {name: gpu_absence(name) for name in ON_NVIDIA if name in BACKENDS}
    for name, error in missing.items():
        if error is None:
            return name, f"backend {name}: the default on an NVIDIA GPU"
    said = " Or: ".join(error.message for error in missing.values() if error is not None)
    raise BackendError("backend-missing", f"No runtime for NVIDIA GPUs is installed. {said}")


def _devices(backend: str, typed: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Runtimes check their own device when they load; GPUs of NVIDIA are asked of the driver."""
    if typed == (AUTO,):
        device = f"{NVIDIA}:0" if backend in GPU_ONLY else "cpu"
        return (device,), f"device {device}: the default"
    if typed[0].lower() == "cpu":
        return ("cpu",), "device cpu: asked for"
    kind = _kind(typed[0])
    able = (*ON_NVIDIA, *OPT_IN) if kind == NVIDIA else (NULL,) if kind == NULL else ("openvino",)
    if backend not in able:
        raise BackendError(
            "device",
            f"Backend {backend} does not run on {typed[0][:40]}; {' and '.join(able)} may. Leave "
            "out --device, or choose such a backend.",
        )
    if kind == NVIDIA:
        missing = gpu_absence(backend)
        if missing is not None:
            raise missing
        require_gpus(typed)
    devices = typed if kind in (NVIDIA, NULL) else (typed[0].upper(),)
    return devices, f"device {', '.join(devices)}: asked for"


def _kind(device: str) -> str:
    kind, separator, _ = device.lower().partition(":")
    return kind if separator else ""


def _precision(manifest: Manifest, backend: str, asked: str) -> tuple[str, str, str]:
    if asked == AUTO:
        return "fp32", "fp32", "precision fp32: the reference, and the default"
    if manifest.variant(asked) is not None:
        return asked, "fp32", f"precision {asked}: asked for, a graph of the bundle"
    if backend in RUNTIME_PRECISIONS.get(asked, ()):
        return "fp32", asked, f"precision {asked}: asked for, the runtime's own"
    have = [variant.name for variant in manifest.variants]
    have += [name for name, able in RUNTIME_PRECISIONS.items() if backend in able]
    raise BackendError(
        "precision",
        f"This bundle on {backend} has the precisions {', '.join(have)}, not the one asked for. "
        "Choose one of these"
        + (", or --backend openvino." if asked in RUNTIME_PRECISIONS else "."),
    )


def _threads(asked: int | None) -> tuple[int, str]:
    if asked is None:
        cores = allowed_cores()
        return cores, f"threads {cores}: one for each core that this process may use"
    if not 1 <= asked <= 1024:
        raise UsageError("threads", f"{asked} threads were asked for; 1 to 1024 make sense.")
    cpus = allowed_cpus()
    more = "" if asked <= cpus else f", though only {cpus} CPUs are allowed"
    return asked, f"threads {asked}: asked for{more}"
