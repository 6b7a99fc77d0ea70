"""Spread: one choice on several devices, a session for each, used as one with all their streams."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

from medge.engine.selftest import SelfTest, open_proven

if TYPE_CHECKING:
    from medge.engine.backends import Tensor
    from medge.engine.bundle import Bundle
    from medge.engine.cache import EngineCache
    from medge.engine.select import Choice
    from medge.engine.session import Session

FAILURES = 3
"""Calls in a row that a device may fail: then it is left out, else it would, by failing at once,
draw all frames to itself. A frame that no device can run so costs itself alone."""


class Spread:
    """Sessions that differ by their device only, with a session's own methods.

    Stream ``n`` belongs to device ``n % devices``, so that as many calls as there are devices use
    every device. Facts that all share (backend, precision, placement) are those of the first.

    Attributes
    ----------
    device
        All devices in few words: ``nvidia:0,1 (2 x NVIDIA L4)``.
    """

    def __init__(self, sessions: Sequence[Session]) -> None:
        first = sessions[0]
        self.sessions = tuple(sessions)
        self.choice = first.choice
        self.backend, self.backend_version = first.backend, first.backend_version
        self.precision, self.answers = first.precision, first.answers
        self.placement = first.placement
        self.batch = first.batch
        self.device = _in_few_words([session.device for session in sessions])

    @property
    def streams(self) -> int:
        """How many calls may run at once, on all devices together."""
        return sum(session.streams for session in self.sessions)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the cache has to say, each thing once."""
        return tuple(dict.fromkeys(note for each in self.sessions for note in each.notes))

    def device_of(self, stream: int) -> str:
        """Return the device of a stream, as results tell it."""
        return self._session(stream).device

    def infer(self, inputs: Mapping[str, Tensor], stream: int = 0) -> Mapping[str, Tensor]:
        """Run one batch on a stream's device; see ``Session.infer``."""
        return self._session(stream).infer(inputs, stream // len(self.sessions))

    def close(self) -> None:
        """Release the runtimes."""
        for session in self.sessions:
            session.close()

    def _session(self, stream: int) -> Session:
        return self.sessions[stream % len(self.sessions)]


class Lanes:
    """The streams that wait for work, and what each device has done.

    The stream that waited longest is the next, so that every device gets what it can take. A device
    that fails ``FAILURES`` calls in a row is left out while another one works.

    Parameters
    ----------
    device_of
        Returns the device of a stream.
    """

    def __init__(self, streams: int, device_of: Callable[[int], str]) -> None:
        self._device = tuple(device_of(stream) for stream in range(streams))
        self._failed = dict.fromkeys(self._device, 0)  # calls in a row
        self._left_out: list[str] = []
        self._lock = threading.Lock()
        self._free: SimpleQueue[int] = SimpleQueue()
        for stream in range(streams):
            self._free.put(stream)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Devices that failed too often in a row, in the order in which they did."""
        return tuple(self._left_out)

    def take(self) -> int:
        """Return a stream that is free, waiting for it."""
        while True:
            stream = self._free.get()
            if self._device[stream] not in self._left_out:
                return stream

    def give_back(self, stream: int, *, failed: bool) -> None:
        """Let others use a stream again, and see whether its device is to be left out."""
        device = self._device[stream]
        with self._lock:
            self._failed[device] = self._failed[device] + 1 if failed else 0
            others = len(self._failed) - len(self._left_out) > 1
            if others and self._failed[device] >= FAILURES and device not in self._left_out:
                self._left_out.append(device)
        self._free.put(stream)


def _in_few_words(devices: Sequence[str]) -> str:
    """Return devices of one kind as they are typed, and how many there are of each name."""
    heads, _, names = zip(*(device.partition(" ") for device in devices), strict=True)
    kind = heads[0].partition(":")[0]
    typed = f"{kind}:{','.join(head.partition(':')[2] for head in heads)}"
    counts = Counter(name[1:-1] for name in names if name)
    told = ", ".join(f"{count} x {name}" for name, count in counts.items())
    return f"{typed} ({told})" if told else typed


def open_spread(
    bundle: Bundle, choice: Choice, cache: EngineCache | None = None
) -> tuple[Session | Spread, SelfTest]:
    """Load a choice on all its devices and let each prove itself; all or none are open afterwards.

    Returns
    -------
    Session or Spread
        The plain session where the choice has one device.
    SelfTest
        Of the device that came nearest to its tolerance.

    Raises
    ------
    BackendError, BundleError, GateError
        As ``selftest.open_proven``, of the first device that fails.
    """
    if len(choice.devices) < 2:
        return open_proven(bundle, choice, cache)
    sessions: list[Session] = []
    tested: list[SelfTest] = []
    try:
        for device in choice.devices:
            one = replace(choice, device=device, devices=())
            session, proof = open_proven(bundle, one, cache)
            sessions.append(session)
            tested.append(proof)
    except BaseException:  # Ctrl-C too must leave nothing of the runtimes behind
        for session in sessions:
            session.close()
        raise
    return Spread(sessions), max(tested, key=lambda proof: proof.max_abs)
