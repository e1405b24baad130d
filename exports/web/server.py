"""A server that answers its own pages, and nobody else; on this machine where nothing else is said.

HTTP is uvicorn's and starlette's. Requests that another site's script could send are refused: by
the `Host` header (a name that some site lets point to 127.0.0.1), by `Origin`, and by the type of
the body, which a page of another site may not send unasked. Clients that take too long are dropped.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from kpairs.errors import KpairsError

ADDRESS = "127.0.0.1"
MAX_BODY = 64 * 2**20  # two large photographs as base64
_MAX_BODIES = 4 * MAX_BODY  # of all requests that are being read or answered
_PATIENCE = 10  # seconds until a request's head has arrived, and as many for its body
_TYPE = "application/json"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class LocalServer:
    """A server of some routes, on 127.0.0.1 or another address of this machine.

    `json_endpoint` makes endpoints that answer a page's questions. `origin` is where a browser sees
    the pages, such as "https://label.example.org", if a proxy stands before this server. Raises
    OSError where the port is taken, or the address is not this machine's.

    >>> with LocalServer([Route("/", page)]) as server:  # doctest: +SKIP
    ...     print(server.url)
    ...     server.run()
    """

    def __init__(
        self,
        routes: Sequence[BaseRoute] = (),
        port: int = 0,
        address: str = ADDRESS,
        origin: str | None = None,
    ) -> None:
        # Named as TCP: only then asyncio sends an answer's parts without waiting (TCP_NODELAY).
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((address, port))
            self._socket.listen(1024)  # who asks before `run` waits
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._origin = origin or f"http://{address}:{self.port}"
        own = [f"http://{name}:{self.port}" for name in (address, "localhost")]
        self._app = local_app(routes, [self._origin, *own[: 2 if address == ADDRESS else 1]])
        config = uvicorn.Config(
            self._app,
            http=_Patient,
            ws="none",
            loop="asyncio",
            lifespan="off",
            backlog=1024,
            log_config=None,
            log_level="critical",  # the page says what went wrong
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"{self._origin}/"

    def serve(self, routes: Sequence[BaseRoute]) -> None:
        """Take routes, which may need to know the address."""
        self._app.router.routes.extend(routes)

    def run(self) -> None:
        """Serve until `stop` is called, or Ctrl-C raises KeyboardInterrupt in the main thread."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Make `run` return, from another thread."""
        self._server.should_exit = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def local_app(routes: Sequence[BaseRoute], origins: Sequence[str]) -> Starlette:
    """Make an app that answers the pages of some origins alone, and tells errors as JSON."""
    return Starlette(
        routes=routes,
        middleware=[Middleware(_OwnPagesOnly, origins=origins)],
        exception_handlers={HTTPException: _tell, KpairsError: _tell},
    )


def json_endpoint(
    answer: Callable[..., Any], largest: int = MAX_BODY
) -> Callable[[Request], Awaitable[Response]]:
    """Make an endpoint that answers a JSON body with `answer(body, **path's parameters)` as JSON.

    `answer` runs in threads, one a core. A `KpairsError` of it becomes status 400 with its text; a
    body of more than `largest` bytes is refused.
    """
    held, turn = 0, asyncio.Semaphore(os.cpu_count() or 1)

    async def endpoint(request: Request) -> Response:
        nonlocal held
        body = bytearray()
        try:
            async with asyncio.timeout(_PATIENCE):
                async for piece in request.stream():
                    body += piece
                    held += len(piece)
                    if len(body) > largest:
                        raise _too_large(largest)
                    if held > _MAX_BODIES:
                        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "busy: try again")
            async with turn:
                found = await run_in_threadpool(answer, bytes(body), **request.path_params)
                return JSONResponse(found)
        except TimeoutError as error:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the request took too long") from error
        except ClientDisconnect:
            return Response()
        finally:
            held -= len(body)

    return endpoint


def _too_large(largest: int) -> HTTPException:
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {largest:,} bytes")


async def _tell(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.BAD_REQUEST
    text = error.detail if isinstance(error, HTTPException) else str(error)
    return JSONResponse({"error": text}, status, {"Connection": "close"})


class _OwnPagesOnly:
    """Middleware that refuses other sites' requests, and adds headers to each answer."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self.app, self.origins = app, origins
        self.hosts = [origin.partition("://")[2] for origin in origins]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        app = self.app
        try:
            self._check(scope["method"], Headers(scope=scope))
        except HTTPException as refusal:
            app = await _tell(Request(scope), refusal)
        await app(scope, receive, send_with_headers)

    def _check(self, method: str, headers: Headers) -> None:
        if headers.get("Host") not in self.hosts:
            raise HTTPException(HTTPStatus.FORBIDDEN, "expected this machine's own address")
        if method in ("GET", "HEAD"):
            return
        if headers.get("Origin") not in self.origins:
            raise HTTPException(HTTPStatus.FORBIDDEN, "only the page served here is answered")
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() != _TYPE:
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected {_TYPE}")
        length = headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise HTTPException(HTTPStatus.LENGTH_REQUIRED, "expected the body's length")
        if int(length) > MAX_BODY:
            raise _too_large(MAX_BODY)


class _Patient(H11Protocol):
    """uvicorn's HTTP, which by itself waits for ever for a request's head."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._set_deadline()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_deadline()

    def _set_deadline(self) -> None:
        """Run down time while a request is awaited; reading its body is the endpoint's business."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._unset_deadline()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(_PATIENCE, self.transport.close)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
