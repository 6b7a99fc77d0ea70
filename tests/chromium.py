"""Debian's Chromium without a window: what a page logs, asks for, and looks like."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

PATH = shutil.which("chromium")
WHY_NOT = "" if PATH else "Debian's chromium is not installed"
WAIT_S = 60.0


@dataclass
class Seen:
    """What came of one page."""

    asked_for: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)


class Chromium:
    """One browser, driven through its debugging pipe: one JSON document, a zero byte, the next.

    https://chromedevtools.github.io/devtools-protocol describes the documents.
    """

    def __init__(self, folder: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()  # (read end, write end) of each
        flags = [
            "--headless=new",
            "--no-sandbox",  # root in a container has none; only our own pages are opened
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder}",
        ]
        # The browser reads from descriptor 3 and writes to 4.
        script = f'exec "$@" 3<&{theirs[0]} 4>&{ours[1]}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", script, "bash", str(PATH), *flags],
            pass_fds=(theirs[0], ours[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs[0])
        os.close(ours[1])
        self._read, self._write = ours[0], theirs[1]
        os.set_blocking(self._read, False)
        self._rest, self._number = b"", 0
        self._events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = ""
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    _session = ""

    def open(
        self,
        path: Path,
        width: int = 1280,
        height: int = 900,
        *,
        media: str = "screen",
        dark: bool = False,
    ) -> Seen:
        """Load a file and return what it asked for and logged."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._events.clear()
        self.call("Page.navigate", url=path.as_uri())
        self._until("Page.loadEventFired")
        self.value("1")  # after what the load has started
        seen = Seen()
        for event in self._events:
            _tell(seen, event["method"], event["params"])
        return seen

    def value(self, script: str) -> Any:
        """Return what a script of the test gives; the page's policy does not bind it."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write a screenshot."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    def paper(self, path: Path) -> None:
        """Write the page as it is printed."""
        self.call("Emulation.setEmulatedMedia", media="print", features=[])
        taken = self.call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Ask the browser and return its answer."""
        self._number += 1
        asked: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._write, json.dumps(asked).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._number:
                assert "error" not in told, told
                return dict(told["result"])
            self._events.append(told)

    def _until(self, event: str) -> None:
        while not any(told["method"] == event for told in self._events):
            self._events.append(self._next())

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + WAIT_S
        while b"\0" not in self._rest:
            assert time.monotonic() < end, "the browser says nothing"
            assert self._process.poll() is None, "the browser ended"
            try:
                self._rest += os.read(self._read, 1 << 20)
            except BlockingIOError:
                time.sleep(0.005)
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(WAIT_S)
        os.close(self._read)
        os.close(self._write)


def _tell(seen: Seen, method: str, told: dict[str, Any]) -> None:
    if method == "Network.requestWillBeSent":
        seen.asked_for.append(told["request"]["url"])
    elif method == "Log.entryAdded":
        seen.logged.append(told["entry"]["text"])
    elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
        seen.logged.append(json.dumps(told))
