"""A headless Chromium for the tests of pages, spoken to through two pipes (the Chrome DevTools Protocol).

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import fcntl
import json
import os
import select
import shutil
import time
from collections import defaultdict
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-pipe", "--lang=en",
)  # fmt: skip
SECONDS = 60  # until a silent browser counts as broken


def program() -> str:
    """Chromium's path; a test that needs it fails without, for a page that nobody opened is not tested."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert found, "no chromium on the PATH; run `make chromium` (Debian: `apt-get install chromium`)"
    return found


def start(command: list[str], to_read: int, to_say: int) -> int:
    """Start a program that hears on descriptor 3 and speaks on 4, as the protocol has it; returns its process id."""
    high = [fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, 10) for pipe in (to_read, to_say)]  # clear of 3 and 4
    nothing = [(os.POSIX_SPAWN_OPEN, out, os.devnull, os.O_WRONLY, 0) for out in (1, 2)]
    pipes = [(os.POSIX_SPAWN_DUP2, pipe, place) for place, pipe in enumerate(high, 3)]
    try:
        return os.posix_spawn(command[0], command, os.environ, file_actions=[*nothing, *pipes])
    finally:
        for pipe in high:
            os.close(pipe)


class Browser:
    """One tab. `errors` and `requests` hold what the page said and asked for since `open`."""

    def __init__(self, folder: Path):
        to_read, self.to_write = os.pipe()
        self.to_hear, to_say = os.pipe()
        self.process = start([program(), *FLAGS, f"--user-data-dir={folder}", "about:blank"], to_read, to_say)
        os.close(to_read)
        os.close(to_say)
        self.number, self.heard, self.events, self.session = 0, b"", defaultdict(list), None
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        found = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: object) -> dict:
        """Send a command and wait for its result; events on the way are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.to_write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.next_message()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def next_message(self) -> dict:
        """The next message; an event is put among `events` too."""
        end = time.monotonic() + SECONDS
        while b"\0" not in self.heard:
            ready, _, _ = select.select([self.to_hear], [], [], max(0.0, end - time.monotonic()))
            said = os.read(self.to_hear, 2**16) if ready else b""
            assert said, f"chromium said nothing in {SECONDS} s, or ended"
            self.heard += said
        text, self.heard = self.heard.split(b"\0", 1)
        message = json.loads(text)
        if "method" in message:
            self.events[message["method"]].append(message["params"])
        return message

    def open(self, page: Path) -> None:
        """Open a file and wait until it has loaded."""
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while "Page.loadEventFired" not in self.events:
            self.next_message()

    def do(self, script: str) -> object:
        """The value of a JavaScript expression; an exception in it fails."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, code: str, shift: bool = False) -> None:
        """Press and let go of a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=code, modifiers=8 if shift else 0)

    def look(
        self, width: int = 1280, dark: bool = False, whole: bool = True, height: int = 900, sharpness: float = 1
    ) -> bytes:
        """A PNG of the page, all of it or its first `height` pixels, with `sharpness` pixels for one of CSS."""
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        ])  # fmt: skip
        self.size(width, height, sharpness)
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])

    def size(self, width: int, height: int = 900, sharpness: float = 1) -> None:
        """Give the window a size in CSS pixels; below 600 it is a phone's."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=sharpness,
            mobile=width < 600,
        )

    @property
    def errors(self) -> list[str]:
        """Exceptions, and what the console was told beside plain logs (a blocked resource is told there too)."""
        self.do("0")  # all that the page said comes before this answer
        found = [str(event["exceptionDetails"]) for event in self.events["Runtime.exceptionThrown"]]
        found += [
            str(event) for event in self.events["Runtime.consoleAPICalled"] if event["type"] in ("error", "warning")
        ]
        return found + [
            str(e["entry"]["text"]) for e in self.events["Log.entryAdded"] if e["entry"]["level"] != "verbose"
        ]

    @property
    def requests(self) -> list[str]:
        """The URLs that were asked for, the page's own first."""
        self.do("0")
        return [event["request"]["url"] for event in self.events["Network.requestWillBeSent"]]

    def close(self) -> None:
        """End the browser."""
        self.session = None
        self.call("Browser.close")
        os.waitpid(self.process, 0)
        os.close(self.to_write)
        os.close(self.to_hear)
