"""From files or arrays to results: read, decode, prepare, infer, decide, one frame at a time."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medge.engine.decide import decide
from medge.engine.feed import Fed, Feed
from medge.engine.prediction import INVALID_RULES, Answer, Fault, Result, Status, Timings
from medge.errors import InputError, MedgeError, UsageError

if TYPE_CHECKING:
    from medge.engine.backends import Tensor
    from medge.engine.bundle import Bundle
    from medge.engine.frames.frame import Context, Window
    from medge.engine.frames.study import Asked, Study
    from medge.engine.select import Choice
    from medge.engine.selftest import SelfTest
    from medge.engine.session import Session
    from medge.engine.spread import Spread

ARRAY = "<array>"  # what Result.file says for a picture handed in from memory


def open_classifier(
    bundle: str | Path | None = None,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Classifier:
    """Open a bundle, choose how to run it, load it and let it prove itself on its golden cases.

    Parameters
    ----------
    bundle
        A folder, or the name of a built-in bundle; None takes ``$MEDGE_BUNDLE``, else the built-in
        breast ultrasound demonstration.
    backend, device, precision
        ``auto`` or a name; what is asked for and absent is an error, never replaced. Several GPUs
        (``nvidia:0,1``, ``nvidia:all``) share the files that ``judge_all`` is given.
    threads
        Threads of the runtime; None takes every CPU that this process may use.

    Raises
    ------
    BundleError, BackendError, GateError
        The bundle is damaged, the runtime is absent, or the golden answers differ here.
    """
    from medge.engine.bundle import find_bundle, open_bundle
    from medge.engine.select import choose
    from medge.engine.selftest import kept_at
    from medge.engine.spread import open_spread

    # The files are checked on a thread while the runtime is imported; nothing unchecked is used.
    opened = open_bundle(find_bundle(None if bundle is None else str(bundle)), wait=False)
    choice = choose(opened, backend, device, precision, threads, several=True)
    session, tested = open_spread(opened, choice, kept_at(choice))
    return Classifier(opened, choice, session, tested)


class Classifier:
    """A bundle ready to run on this device; use it as a context manager or close it.

    Not thread-safe: the input tensor and the runtime's buffers are reused from frame to frame.
    ``medge.engine.pipeline`` uses all streams at once.
    """

    def __init__(
        self, bundle: Bundle, choice: Choice, session: Session | Spread, tested: SelfTest
    ) -> None:
        self.bundle = bundle
        self.choice = choice
        self.session = session
        self.tested = tested
        self._placement = {name: round(n, 4) for name, n in tested.placement.shares.items()}
        self.feed = Feed(bundle.manifest)
        self.left_out: tuple[str, ...] = ()

    def run(
        self,
        picture: str | Path | npt.NDArray[Any],
        *,
        window: Window | None = None,
        inverted: bool = False,
        bits_stored: int | None = None,
        context: Context | None = None,
    ) -> list[Result]:
        """Judge every frame of a file, or of an array, and return one Result each.

        Parameters
        ----------
        picture
            A path (DICOM, PNG, JPEG, NPY); or an array of shape (h, w), (h, w, 3) RGB, (n, h, w) or
            (n, h, w, 3), dtype uint8, uint16, int16, or float32 in 0..1. Arrays are not copied.
        window, inverted, bits_stored, context
            What an array cannot say of itself, as ``medge.engine.frames.study.from_array`` takes
            it. A file says all this itself, and then they must be left out.

        Returns
        -------
        list of Result
            A picture that is refused is a Result with a ``fault``, not an exception.
        """
        if isinstance(picture, np.ndarray):
            from medge.engine.frames.study import from_array

            def opener() -> Study:
                return from_array(
                    picture,
                    window=window,
                    inverted=inverted,
                    bits_stored=bits_stored,
                    context=context,
                )

            return [self._judge(ARRAY, fed) for fed in self.feed.study(opener)]
        if window is not None or inverted or bits_stored is not None or context is not None:
            raise UsageError(
                "array-options",
                "window, inverted, bits_stored and context describe an array, and a file was "
                "given, which says all that itself. Leave them out.",
            )
        return list(self.stream(Path(picture)))

    def stream(self, path: Path, asked: Asked | None = None) -> Iterator[Result]:
        """Judge the frames of one file as they are read; a bad file gives one refused Result."""
        return (self._judge(str(path), fed) for fed in self.feed.file(path, asked))

    def judge_all(self, paths: Iterable[Path], asked: Asked) -> Generator[Result]:
        """Judge every frame of every file, as fast as the choice allows; close what this returns.

        With one stream and a batch of one each result is there before the next frame is read. With
        more, one thread reads and prepares and the streams of all devices infer. A file that fails,
        and a frame that is refused, stop no other. ``left_out`` then names the devices that failed
        again and again, so that others did their work.
        """
        if self.session.streams > 1 or self.choice.batch > 1:
            from medge.engine.pipeline import Pipeline

            pipeline = Pipeline(self)
            yield from pipeline.judge(paths, asked)
            self.left_out = pipeline.left_out
            return
        for path in paths:
            try:
                yield from self.stream(path, asked)
            except Exception as error:  # told with its exit code, never hidden
                yield self.failed(path, error)

    def failed(
        self, path: Path, error: Exception, frame: int | None = None, stream: int = 0
    ) -> Result:
        """Tell what stopped a file, or one frame of it, as a Result.

        A bug of medge is told by its class and place, never by its text, which may hold data.
        """
        if isinstance(error, MedgeError):
            fault = Fault(rule=error.rule, exit_code=error.exit_code, message=error.message)
            return self._result(str(path), frame, "failed", Timings(), stream, fault=fault)
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = "" if trace is None else f" in {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
        fault = Fault(
            rule="bug",
            exit_code=MedgeError.exit_code,
            message=f"{type(error).__name__}{place}. This is a fault of medge; please report it.",
        )
        return self._result(str(path), frame, "failed", Timings(), stream, fault=fault)

    @property
    def wants_gray(self) -> bool:
        """Whether luminance is all that the bundle looks at."""
        return self.feed.wants_gray

    def close(self) -> None:
        """Release the runtime and the bundle."""
        self.session.close()
        self.bundle.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def told(
        self,
        file: str,
        fed: Fed,
        found: Mapping[str, Tensor] | InputError,
        infer_ns: int = 0,
        stream: int = 0,
    ) -> Result:
        """Tell what the network found in a frame, or why it was refused, as a Result.

        ``found`` is the outputs for this frame alone; ``infer_ns`` what they took, in a batch this
        frame's part of it; ``stream`` of the session where it ran.
        """
        if isinstance(found, InputError):
            return self._refused(file, fed, found, _timings(fed.times_ns, infer_ns), stream)
        start = time.perf_counter_ns()
        try:
            # What a backend without a network returns must not look like a prediction.
            answers = decide(found, 0, self.bundle.manifest) if self.session.answers else ()
        except InputError as error:
            timings = _timings(fed.times_ns, infer_ns, _since(start))
            return self._refused(file, fed, error, timings, stream)
        return self._result(
            file,
            fed.frame,
            _status(answers, unscoped=fed.unscoped),
            _timings(fed.times_ns, infer_ns, _since(start)),
            stream,
            answers=answers,
            notes=fed.notes,
        )

    def _judge(self, file: str, fed: Fed) -> Result:
        """Judge one frame; every stage that was reached has its time."""
        if fed.fault is not None:
            return self.told(file, fed, fed.fault)
        start = time.perf_counter_ns()
        found: Mapping[str, Tensor] | InputError
        try:
            found = self.session.infer(fed.feeds)
        except InputError as error:
            found = error
        return self.told(file, fed, found, _since(start))

    def _refused(
        self, file: str, fed: Fed, error: InputError, timings: Timings, stream: int
    ) -> Result:
        fault = Fault(rule=error.rule, exit_code=error.exit_code, message=error.message)
        status: Status = "invalid" if error.rule in INVALID_RULES else "refused"
        return self._result(file, fed.frame, status, timings, stream, fault=fault, notes=fed.notes)

    def _result(
        self,
        file: str,
        frame: int | None,
        status: Status,
        timings: Timings,
        stream: int,
        *,
        answers: tuple[Answer, ...] = (),
        fault: Fault | None = None,
        notes: tuple[str, ...] = (),
    ) -> Result:
        manifest = self.bundle.manifest
        labels = [label for answer in answers for label in answer.labels]
        return Result(
            file=file,
            frame=frame,
            status=status,
            prediction="+".join(labels) if labels else None,
            answers=answers,
            fault=fault,
            notes=notes,
            timings=timings,
            device=self.session.device_of(stream),
            backend=self.session.backend,
            precision=self.session.precision,
            placement=self._placement,
            bundle=f"{manifest.name} {manifest.version}",
            bundle_sha256=self.bundle.digest,
            demonstration=manifest.demonstration,
        )


def _status(answers: tuple[Answer, ...], *, unscoped: bool) -> Status:
    if not answers:
        return "not-run"
    if any(answer.abstained for answer in answers):
        return "abstained"
    return "unscoped" if unscoped else "ok"


def _since(start: int) -> int:
    return time.perf_counter_ns() - start


def _timings(fed_ns: tuple[int, ...], infer_ns: int = 0, decide_ns: int = 0) -> Timings:
    """Name the times; stages that were not reached stay 0."""
    read_ns, decode_ns, prepare_ns = (*fed_ns, 0, 0)[:3]
    return Timings(
        read_ns=read_ns,
        decode_ns=decode_ns,
        prepare_ns=prepare_ns,
        infer_ns=infer_ns,
        decide_ns=decide_ns,
    )
