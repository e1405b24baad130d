"""Routes of the page to compare on. A link holds a key, which tells who comes and lets them in."""

from __future__ import annotations

import asyncio
import csv
import hmac
import io
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from kpairs.errors import InputError, KpairsError
from kpairs.exports.web.label.session import Session
from kpairs.exports.web.label.training import Training
from kpairs.exports.web.server import json_endpoint
from kpairs.files import read_json, write_json

_FILES = {
    "page.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "ranking.js": "text/javascript",
}
_LARGEST = 10_000  # bytes of a request, and of the file of links
_SCORES = ("file", "score", "low", "high", "rank", "best", "worst", "judgements")
_KEY_BYTES = 16
Sent = Mapping[str, Any]  # a page's question, as JSON says it
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Person:
    """Somebody with a link.

    Attributes:
        key: the secret part of the link.
        judge: the name under which the person compares; None for who only started the page.
        starter: sees ranking, judges, tables and file names, and may take back any answer.
    """

    key: str
    judge: str | None
    starter: bool


def people(judges: Sequence[str], known: Mapping[str, str], alone: bool) -> list[Person]:
    """Return who has a link, the starter first; `known` has earlier keys, the starter's as ""."""

    def key(name: str) -> str:
        return known.get(name) or secrets.token_urlsafe(_KEY_BYTES)

    if alone:
        return [Person(key(""), judges[0], True)]
    return [Person(key(""), None, True), *(Person(key(name), name, False) for name in judges)]


class Links:
    """Keys and port of earlier sittings, so that a link lasts: a file beside the table of answers.

    Only its owner can read it.
    """

    def __init__(self, table: Path) -> None:
        self._file = table.with_name(f".{table.name}.links.json")
        self.port, self.keys = 0, dict[str, str]()
        with suppress(InputError, TypeError, AttributeError, ValueError, KeyError):
            found = read_json(self._file, "links", _LARGEST)
            keys = {str(name): str(key) for name, key in found["keys"].items()}
            if all(len(key) >= _KEY_BYTES and key.isascii() for key in keys.values()):
                self.port, self.keys = int(found["port"]), keys

    def keep(self, port: int, persons: Iterable[Person]) -> None:
        """Write down the port and the keys."""
        self.keys |= {"" if p.starter else str(p.judge): p.key for p in persons}
        mask = os.umask(0o077)
        try:
            write_json(self._file, {"port": port, "keys": self.keys})
        finally:
            os.umask(mask)


@dataclass
class Page:
    """The answers to what browsers ask.

    Attributes:
        session: what is asked, and what is known.
        persons: who has a link.
        base: address that links begin with.
        end: ends the server; the starter's page may ask for it.
        training: makes a network of the answers.
    """

    session: Session
    persons: Sequence[Person]
    base: str
    end: Callable[[], None]
    training: Training
    _turns: asyncio.Semaphore = field(  # of images that are decoded
        init=False, default_factory=lambda: asyncio.Semaphore(os.cpu_count() or 1)
    )

    def routes(self) -> list[BaseRoute]:
        """Return the routes, for a `LocalServer`."""
        asked = {
            "begin": self._told(self._begin),
            "state": self._told(self._state),
            "answer": self._told(self._answer, judge=True),
            "undo": self._told(lambda who, _: self.session.undo(str(who.judge)), judge=True),
            "ranking": self._told(lambda *_: self.session.ranking(), starter=True),
            "comparisons": self._told(self._comparisons, starter=True),
            "withdraw": self._told(self._withdraw, starter=True),
            "judges": self._told(self._judges, starter=True),
            "train": self._told(self._train, starter=True),
            "training": self._told(lambda *_: self.training.told(), starter=True),
            "end": self._told(lambda *_: self.end(), starter=True),
        }
        below: list[BaseRoute] = [
            Route("/", self._file),
            Route("/image/{number:int}/{longest:int}", self._image),
            Route("/places/{number:int}", self._places),
            Route("/{table}.csv", self._table),
            Route("/network.onnx", self._network),
            *(Route(f"/{name}", endpoint, methods=["POST"]) for name, endpoint in asked.items()),
            Route("/{name}", self._file),
        ]
        return [Mount("/{key}", routes=below), Route("/", self._file)]

    def _admit(self, key: str, *, starter: bool = False, judge: bool = False) -> Person:
        """Return whose key it is. All keys are compared, each in constant time."""
        found = [p for p in self.persons if hmac.compare_digest(p.key.encode(), key.encode())]
        if not found or (starter and not found[0].starter) or (judge and found[0].judge is None):
            raise HTTPException(
                HTTPStatus.FORBIDDEN,
                "expected a link as 'kpairs label' shows it; ask who started it",
            )
        return found[0]

    # ---- Files: the page's own, images, tables, the network -----------------------------------

    async def _file(self, request: Request) -> Response:
        self._admit(request.path_params.get("key", ""))
        name = request.path_params.get("name", "page.html")
        if name not in _FILES:
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such page")
        return Response((files(__package__) / name).read_bytes(), media_type=_FILES[name])

    async def _image(self, request: Request) -> Response:
        self._admit(request.path_params["key"])
        number, longest = request.path_params["number"], request.path_params["longest"]
        async with self._turns:
            found = await run_in_threadpool(self.session.picture, number, longest)
        size = {"Kpairs-Size": f"{found.width}x{found.height}"}
        return Response(found.data, media_type=found.kind, headers=size)

    async def _places(self, request: Request) -> Response:
        self._admit(request.path_params["key"], starter=True)
        images, number = self.session.images, request.path_params["number"]
        if number >= len(images.files):
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such image")
        file, name = images.files[number], images.names[number]
        async with self._turns:
            found = await run_in_threadpool(self.training.explained, file, name)
        return Response(found, media_type="image/png")

    async def _table(self, request: Request) -> Response:
        self._admit(request.path_params["key"], starter=True)
        name = request.path_params["table"]
        if name not in ("pairs", "scores"):
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such table")
        text = await run_in_threadpool(_table, self.session, name)
        attached = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
        return Response(text, media_type="text/csv", headers=attached)

    async def _network(self, request: Request) -> Response:
        self._admit(request.path_params["key"], starter=True)
        if self.training.file is None or not self.training.file.is_file():
            raise HTTPException(HTTPStatus.NOT_FOUND, "no network was trained here")
        return FileResponse(self.training.file, filename=self.training.file.name)

    # ---- JSON: each answer takes who asks, and what was sent ----------------------------------

    def _told(self, answer: Callable[[Person, Sent], Any], **needed: bool) -> Endpoint:
        """Make the endpoint of an answer; `needed` says who may ask, as `_admit` takes it."""

        def answered(body: bytes, key: str, **_: Any) -> Any:
            person = self._admit(key, **needed)
            try:
                sent = json.loads(body)
                if not isinstance(sent, dict):
                    raise TypeError
                return answer(person, sent) or {}
            except KpairsError:
                raise
            except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
                raise InputError("expected a JSON object as this page sends it") from error
            except OSError as error:
                raise HTTPException(
                    HTTPStatus.INSUFFICIENT_STORAGE, f"not saved: {error.strerror}"
                ) from error

        return json_endpoint(answered, _LARGEST)

    def _begin(self, who: Person, _: Sent) -> dict[str, Any]:
        return {
            "question": self.session.question,
            "ties": self.session.ties,
            "judge": who.judge,
            "starter": who.starter,
            "several": len(self.persons) > 1,
            "table": self.session.answers.path.name,
            "command": self.training.command() if who.starter else None,
            "dark": self.session.images.dark if who.starter else "",
        }

    def _state(self, who: Person, _: Sent) -> dict[str, Any]:
        return self.session.progress() if who.judge is None else self.session.state(who.judge)

    def _answer(self, who: Person, sent: Sent) -> dict[str, Any]:
        seconds = sent["seconds"]
        if not isinstance(seconds, int | float) or seconds != seconds:
            raise TypeError
        question, label = str(sent["question"]), str(sent["label"])
        return self.session.answer(str(who.judge), question, label, float(seconds))

    def _comparisons(self, _: Person, sent: Sent) -> dict[str, Any]:
        return {"comparisons": self.session.comparisons(int(sent["image"]))}

    def _withdraw(self, _: Person, sent: Sent) -> dict[str, Any]:
        self.session.withdraw(int(sent["row"]), str(sent["key"]))
        return self.session.progress()

    def _judges(self, _: Person, __: Sent) -> dict[str, Any]:
        links = {p.judge: f"{self.base}{p.key}/" for p in self.persons if not p.starter}
        found = self.session.judges()
        for one in found["judges"]:
            one["link"] = links.get(one["name"])
        return found

    def _train(self, _: Person, __: Sent) -> dict[str, Any]:
        self.training.start()
        return self.training.told()


def _table(session: Session, name: str) -> str:
    text = io.StringIO()
    if name == "pairs":
        rows: list[dict[str, Any]] = session.pairs_table()
        fields: Sequence[str] = session.answers.rows[0]._fields if rows else ("left", "right")
    else:
        rows = [{**one, "file": one["name"]} for one in session.ranking()["images"]]
        fields = _SCORES
    writer = csv.DictWriter(text, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
