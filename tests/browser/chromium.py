"""A headless Chromium, driven through chromedriver's own HTTP interface (W3C WebDriver)."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ALONE = (
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
_PATIENCE_S = 240
_PROGRAMS = ("chromium", "chromedriver")
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key by which WebDriver refers to an element."""

KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "ArrowDown": "\ue015", "End": "\ue010", " ": " "}


def lacking() -> str | None:
    """What is missing for a browser to be driven; None where nothing is."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    return (
        f"expected {' and '.join(missing)} (on Debian: apt-get install chromium chromium-driver)"
        if missing
        else None
    )


class Browser:
    """One window.

    Args:
        address: Of the driver.
        session: The window's.
    """

    def __init__(self, address: str, session: str) -> None:
        self._session = f"{address}/session/{session}"

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401  # JSON
        return _ask(method, f"{self._session}{path}", body)

    def open(self, url: str) -> None:
        """Load a page, and wait until the map is drawn or cannot be."""
        self._ask("POST", "/url", {"url": url})
        self.wait("['drawn', 'none'].includes(document.documentElement.dataset.map)")

    def run(self, script: str) -> Any:  # noqa: ANN401  # JSON
        """What a script returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, condition: str) -> None:
        """Return when an expression becomes true."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self.run(f"return Boolean({condition});"):
            assert time.monotonic() < deadline, f"never true: {condition}; console: {self.log('browser')}"
            time.sleep(0.05)

    def settle(self) -> None:
        """Return when the map has nothing left to draw."""
        script = (
            "window.settled = false; const map = geoseg.map; map.triggerRepaint();"
            "map.once('idle', () => { window.settled = true; });"
        )
        self.run(script)
        self.wait("window.settled")

    def devtools(self, command: str, **parameters: Any) -> Any:  # noqa: ANN401  # JSON
        """A command of the Chrome DevTools Protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int) -> None:
        """A window of that many CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: str) -> None:
        """Ask for light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", media="", features=features)

    def press(self, *keys: str) -> None:
        """Press and release keys, by their names."""
        actions = [{"type": kind, "value": KEYS[key]} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window, in CSS pixels."""
        move = {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y), "origin": "viewport"}
        actions = [move, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._ask("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": actions}]})

    def picture(self, css: str | None = None) -> bytes:
        """What is seen of an element, or of the window, as PNG."""
        if css is None:
            return base64.b64decode(self._ask("GET", "/screenshot"))
        element = self._ask("POST", "/element", {"using": "css selector", "value": css})[_ELEMENT]
        return base64.b64decode(self._ask("GET", f"/element/{element}/screenshot"))

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What was logged since the last time: by the console ("browser") or the network ("performance")."""
        return list(self._ask("POST", "/se/log", {"type": kind}))

    def requests(self) -> list[str]:
        """Addresses that pages and their workers asked for since the last time."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent]


@contextmanager
def browser(folder: Path, *flags: str) -> Iterator[Browser]:
    """A window of a new browser with a profile of its own.

    Args:
        folder: Where the profile lies.
        flags: Of Chromium, besides those that keep it to itself.
    """
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert driver.stdout is not None
        said = next(line for line in driver.stdout if "started successfully on port" in line)
        address = f"http://127.0.0.1:{int(said.rsplit(maxsplit=1)[1].strip('.'))}"
        options = {
            "args": [*_ALONE, *flags, f"--user-data-dir={folder}"],
            "perfLoggingPrefs": {"enableNetwork": True},
        }
        asked = {"browserName": "chrome", "goog:chromeOptions": options}
        asked["goog:loggingPrefs"] = {"browser": "ALL", "performance": "ALL"}
        session = _ask("POST", f"{address}/session", {"capabilities": {"alwaysMatch": asked}})["sessionId"]
        try:
            yield Browser(address, session)
        finally:
            _ask("DELETE", f"{address}/session/{session}")
    finally:
        driver.terminate()
        driver.communicate()


def _ask(method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401  # JSON
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=2 * _PATIENCE_S) as answer:  # noqa: S310  # of the driver
        return json.load(answer)["value"]
