"""A page's network, run as its reader would: by a browser without a window, or else by node."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.errors import KpairsError

_NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("microsoft-edge", "msedge"),
)
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
QUIET = (
    *("--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
_PATIENCE = 300  # seconds
# Runs every pair through the page's own network; the answer is the text of one element.
_ASK = """
const asked = %s;
let told;
try {
  const network = networkOf(graph), bytes = bytesOf(asked.pixels).buffer;
  const pixels = new Float32Array(bytes), size = pixels.length / (2 * asked.count);
  const input = (i) => pixels.subarray(i * size, (i + 1) * size);
  told = [];
  for (let i = 0; i < asked.count; i++) told.push(network(input(i), input(asked.count + i)));
} catch (error) { told = {error: String(error)}; }
"""
_IN_PAGE = """<script>{{
const graph = JSON.parse(document.getElementById("config").textContent).graph;
{ask}
const answer = Object.assign(document.createElement("pre"), {{id: "asked"}});
answer.textContent = JSON.stringify(told);
document.body.append(answer); }}</script>"""


def find_browser() -> str | None:
    """Find a Chromium, Chrome or Edge: `$KPAIRS_BROWSER`, on the path, or in its usual place."""
    if own := os.environ.get("KPAIRS_BROWSER"):
        return shutil.which(own)
    found = (shutil.which(name) for name in (*_NAMES, *_PLACES))
    return next((path for path in found if path), None)


class NothingRunsIt(KpairsError):
    """Neither a browser that opens a page, nor node, is on this machine."""


class PageModel:
    """A page's network, run in a browser, or by node where there is none.

    `engine` is what ran it last, such as "Chromium 150.0"; None before.
    """

    def __init__(self, path: str | Path) -> None:
        self._page = Path(path).read_text(encoding="utf-8")
        self._config = json.loads(_inner(self._page, 'id="config" type="application/json"'))
        self.outputs: Mapping[str, str] = self._config["models"][0]["outputs"]
        self.engine: str | None = None

    def run(
        self, left: NDArray[np.float32], right: NDArray[np.float32], chunk: int = 0
    ) -> dict[str, NDArray[np.float32]]:
        """Compute every output for n pairs of pixels, as `PairModel.run` does.

        Raises NothingRunsIt without browser and node, KpairsError where the page's script fails.
        """
        pixels = np.ascontiguousarray(np.stack([left, right]), "<f4").tobytes()
        asked = {"count": len(left), "pixels": base64.b64encode(pixels).decode()}
        ask = _ASK % json.dumps(asked)
        told = self._in_browser(ask) or self._in_node(ask)
        if told is None:
            raise NothingRunsIt("html: expected Chromium, Chrome, Edge or node here; found none")
        if isinstance(told, dict):
            raise KpairsError(f"html: {self.engine} cannot run the page: {told['error']}")
        return {
            name: np.array([row[name] for row in told], np.float32).reshape(len(left), -1)
            for name in self.outputs
        }

    def _in_browser(self, ask: str) -> Any:
        """Return the page's answer in a browser; None where no browser opens it."""
        browser = find_browser()
        if browser is None:
            return None
        with tempfile.TemporaryDirectory(prefix="kpairs-", ignore_cleanup_errors=True) as folder:
            page = Path(folder) / "page.html"
            page.write_text(self._page.replace("</body>", _IN_PAGE.format(ask=ask) + "</body>"))
            root = hasattr(os, "geteuid") and os.geteuid() == 0
            options = [*QUIET, *(["--no-sandbox"] if root else [])]
            profile = f"--user-data-dir={folder}/profile"
            shown = _output([browser, "--headless", *options, profile, "--dump-dom", page.as_uri()])
        found = re.search(r'<pre id="asked">(.*?)</pre>', shown or "", re.DOTALL)
        if not found:
            return None
        self.engine = _version(browser)
        return json.loads(unescape(found[1]))

    def _in_node(self, ask: str) -> Any:
        node = shutil.which("node")
        if node is None:
            return None
        script = _inner(self._page, 'id="network"')
        graph = json.dumps(self._config["graph"])
        end = f"const graph = {graph};{ask}console.log(JSON.stringify(told));"
        shown = _output([node, "-"], script + end)
        if shown is None:
            return None
        self.engine = f"node {_version(node)}"
        return json.loads(shown)


def _inner(page: str, attributes: str) -> str:
    found = re.search(f"<script {re.escape(attributes)}>(.*?)</script>", page, re.DOTALL)
    if found is None:
        raise KpairsError("html: expected a page that 'kpairs export --html' wrote")
    return found[1]


def _output(command: list[str], given: str | None = None) -> str | None:
    """Return the output of a program; None where it fails."""
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, timeout=_PATIENCE, encoding="utf-8"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _version(program: str) -> str:
    """Return name and version, such as Chromium 150.0.7871.100."""
    said = (_output([program, "--version"]) or "").strip()
    found = re.match(r"[A-Za-z ]*v?[\d.]+", said)
    return found[0] if found else Path(program).name
