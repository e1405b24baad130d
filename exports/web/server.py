"""The page on this machine: a server that answers its own page, and nobody else.

Python's `http.server` on 127.0.0.1. What other sites' scripts could send here is refused: by the
`Host` header (a name that some site lets point to 127.0.0.1), by `Origin`, and by the type of the
body, which a page of another site may not send unasked. Nothing is written.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from kpairs.data.decode import decode_bytes
from kpairs.data.pixels import prepare
from kpairs.data.settings import DIGITS
from kpairs.data.sources import load_digits
from kpairs.errors import InputError, KpairsError
from kpairs.exports.runtime import PairModel
from kpairs.exports.web.page import about, page

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
MAX_BODY = 64 * 2**20  # two large photographs as base64
_TYPE = "application/json"
_PATIENCE = 10  # seconds in which a request must have arrived
_SAMPLES = 200


class Refused(Exception):
    """A request that is not answered, with its HTTP status."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class DemoServer(ThreadingHTTPServer):
    """Serves the page of some models on 127.0.0.1, from threads of its own.

    >>> with DemoServer({"auxws": PairModel.load("auxws.onnx")}) as server:  # doctest: +SKIP
    ...     print(server.url)
    ...     server.serve_forever()

    Args:
        models: by the names that the page shows.
        port: 0 takes a free one.
        samples: `(n, height, width, channels)` uint8 pictures that the page offers.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(
        self,
        models: Mapping[str, PairModel],
        port: int = 0,
        samples: np.ndarray | None = None,
    ) -> None:
        self.models = dict(models)
        config: dict[str, Any] = {
            "models": [about(name, m.metadata, m.pixels) for name, m in self.models.items()]
        }
        if samples is not None:
            config["samples"] = samples_of(samples)
        self.page = page(
            config,
            title="kpairs demo",
            footer="Answered on this machine by onnxruntime; nothing is stored or sent elsewhere.",
            connect="'self'",
        ).encode()
        super().__init__((ADDRESS, port), _Handler)
        self.port = self.server_address[1]

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.port}/"

    def compare(self, body: bytes) -> dict[str, Any]:
        """Answer a request of the page.

        Args:
            body: JSON with `left` and `right`, image files as base64.

        Returns:
            `models`: of each what it saw of each side, and its outputs.

        Raises:
            InputError: another body, or a picture that cannot be read.
        """
        try:
            sent = json.loads(body)
            files = {s: base64.b64decode(sent[s], validate=True) for s in ("left", "right")}
        except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
            raise InputError("expected JSON with left and right, images as base64") from error
        pictures = {side: decode_bytes(data, side)[None] for side, data in files.items()}
        return {"models": [_answer(model, pictures) for model in self.models.values()]}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that a browser gave up."""
        log.debug("a connection ended early", exc_info=True)


def samples_of(pictures: np.ndarray) -> dict[str, Any]:
    """Write `(n, height, width, channels)` uint8 pictures down as the page reads them."""
    count, height, width, channels = pictures.shape
    data = base64.b64encode(np.ascontiguousarray(pictures).tobytes()).decode()
    return {
        "count": count,
        "height": height,
        "width": width,
        "channels": channels,
        "data": data,
    }


def offered_digits(
    models: Sequence[PairModel], data_root: str | Path | None = None
) -> np.ndarray | None:
    """Some of MNIST's test digits, 28x28, where the models are for such and the data are here."""
    if any(model.pixels.shape != DIGITS.shape for model in models):
        return None
    try:
        images = np.asarray(load_digits("mnist", "test", data_root, fetch=False).images)
    except KpairsError:
        return None
    chosen = np.random.default_rng().choice(len(images), _SAMPLES, replace=False)
    return images[chosen][..., None]


def _answer(model: PairModel, pictures: Mapping[str, np.ndarray]) -> dict[str, Any]:
    seen = {side: prepare(picture, model.pixels, side).pixels for side, picture in pictures.items()}
    values = model.compare(seen["left"], seen["right"])
    return {
        "seen": {side: pixels.ravel().tolist() for side, pixels in seen.items()},
        "outputs": {name: value[0].tolist() for name, value in values.items()},
    }


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "kpairs", ""
    timeout = _PATIENCE

    def do_GET(self) -> None:
        self._answer(self._page)

    def do_POST(self) -> None:
        self._answer(self._compare)

    def _page(self) -> tuple[str, bytes]:
        if self.path != "/":
            raise Refused(HTTPStatus.NOT_FOUND, "no such page")
        return "text/html; charset=utf-8", self.server.page

    def _compare(self) -> tuple[str, bytes]:
        if self.path != "/compare":
            raise Refused(HTTPStatus.NOT_FOUND, "no such page")
        if self.headers.get("Origin") not in self._origins():
            raise Refused(HTTPStatus.FORBIDDEN, "only the demo's own page is answered")
        if self.headers.get_content_type() != _TYPE:
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected {_TYPE}")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "expected the body's length")
        if int(length) > MAX_BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MAX_BODY} bytes")
        try:
            answer = self.server.compare(self.rfile.read(int(length)))
        except InputError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        return _TYPE, json.dumps(answer).encode()

    def _origins(self) -> list[str]:
        return [f"http://{name}:{self.server.port}" for name in (ADDRESS, "localhost")]

    def _answer(self, what: Any) -> None:
        status = HTTPStatus.OK
        try:
            if f"http://{self.headers.get('Host')}" not in self._origins():
                raise Refused(HTTPStatus.FORBIDDEN, "expected this machine's own address")
            kind, body = what()
        except Refused as error:
            status, kind = error.status, _TYPE
            body = json.dumps({"error": str(error)}).encode()
            self.close_connection = True  # its body was not read
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet: the page says what went wrong."""
