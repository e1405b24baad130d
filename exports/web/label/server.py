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
from dataclasses import dataclass
from functools import partial
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

_FILES = {"page.css": "text/css", "page.js": "text/javascript", "ranking.js": "text/javascript"}
_LARGEST = 10_000  # bytes of a request
_SCORES = ("file", "score", "low", "high", "rank", "best", "worst", "judgements")
_KEY_BYTES = 16


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
    """Return who has a link, the starter first.

    Args:
        judges: names.
        known: keys by name, of an earlier sitting; the starter's is "".
        alone: the one judge is the starter.
    """

    def key(name: str) -> str:
        return known.get(name) or secrets.token_urlsafe(_KEY_BYTES)

    if alone:
        return [Person(key(""), judges[0], True)]
    return [Person(key(""), None, True), *(Person(key(name), name, False) for name in judges)]


class Links:
    """Keys and port of earlier sittings, so that a link lasts: a file for its owner's eyes alone.

    Args:
        table: of answers; the file stands beside it.
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


def label_routes(
    session: Session,
    persons: Sequence[Person],
    base: str,
    end: Callable[[], None],
    training: Training,
) -> list[BaseRoute]:
    """Make the routes of a session, for a `LocalServer`.

    Args:
        session: what is asked, and what is known.
        persons: who has a link.
        base: address that links begin with.
        end: ends the server; the starter's page may ask for it.
        training: makes a network of the answers.
    """
    page = files("kpairs.exports.web.label")
    texts = {name: (page / name).read_bytes() for name in ("page.html", *_FILES)}
    turns = asyncio.Semaphore(os.cpu_count() or 1)  # of images that are decoded

    def who(request: Request, *, starter: bool = False, judge: bool = False) -> Person:
        return _admitted(persons, request.path_params["key"], starter=starter, judge=judge)

    def asked(
        answer: Callable[[Person, Mapping[str, Any]], Any], **needed: bool
    ) -> Callable[[Request], Awaitable[Response]]:
        def answered(body: bytes, key: str, **_: Any) -> Any:
            person = _admitted(persons, key, **needed)
            try:
                sent = json.loads(body)
                if not isinstance(sent, dict):
                    raise TypeError
                return answer(person, sent)
            except KpairsError:
                raise
            except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
                raise InputError("expected a JSON object as this page sends it") from error
            except OSError as error:
                raise HTTPException(
                    HTTPStatus.INSUFFICIENT_STORAGE, f"not saved: {error.strerror}"
                ) from error

        return json_endpoint(answered, _LARGEST)

    async def show(request: Request) -> Response:
        who(request)
        return Response(texts["page.html"], media_type="text/html")

    async def static(request: Request) -> Response:
        who(request)
        name = request.path_params["name"]
        if name not in _FILES:
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such page")
        return Response(texts[name], media_type=_FILES[name])

    async def image(request: Request) -> Response:
        who(request)
        number, longest = request.path_params["number"], request.path_params["longest"]
        async with turns:
            found = await run_in_threadpool(session.picture, number, longest)
        size = {"Kpairs-Size": f"{found.width}x{found.height}"}
        return Response(found.data, media_type=found.kind, headers=size)

    async def places(request: Request) -> Response:
        who(request, starter=True)
        number = request.path_params["number"]
        if number >= len(session.files):
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such image")
        file, name = session.files[number], session.names[number]
        async with turns:
            found = await run_in_threadpool(training.explained, file, name)
        return Response(found, media_type="image/png")

    async def table(request: Request) -> Response:
        who(request, starter=True)
        name = request.path_params["table"]
        if name not in ("pairs", "scores"):
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such table")
        text = await run_in_threadpool(partial(_table, session, name))
        attached = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
        return Response(text, media_type="text/csv", headers=attached)

    async def network(request: Request) -> Response:
        who(request, starter=True)
        if training.file is None or not training.file.is_file():
            raise HTTPException(HTTPStatus.NOT_FOUND, "no network was trained here")
        return FileResponse(training.file, filename=training.file.name)

    def begin(person: Person, _: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "question": session.question,
            "ties": session.ties,
            "judge": person.judge,
            "starter": person.starter,
            "several": len(persons) > 1,
            "table": session.answers.path.name,
            "command": training.command() if person.starter else None,
            "notes": session.notes if person.starter else [],
        }

    def state(person: Person, _: Mapping[str, Any]) -> dict[str, Any]:
        return session.state(person.judge) if person.judge is not None else session.progress()

    def answer(person: Person, sent: Mapping[str, Any]) -> dict[str, Any]:
        seconds = sent["seconds"]
        if not isinstance(seconds, int | float) or seconds != seconds:
            raise TypeError
        return session.answer(
            str(person.judge), str(sent["question"]), str(sent["label"]), float(seconds)
        )

    def comparisons(_: Person, sent: Mapping[str, Any]) -> dict[str, Any]:
        return {"comparisons": session.comparisons(int(sent["image"]))}

    def withdraw(_: Person, sent: Mapping[str, Any]) -> dict[str, Any]:
        session.withdraw(int(sent["row"]), str(sent["key"]))
        return session.progress()

    def judges(_: Person, __: Mapping[str, Any]) -> dict[str, Any]:
        links = {p.judge: f"{base}{p.key}/" for p in persons if not p.starter}
        found = session.judges()
        for one in found["judges"]:
            one["link"] = links.get(one["name"])
        return found

    def train(_: Person, __: Mapping[str, Any]) -> dict[str, Any]:
        training.start()
        return training.told()

    def finish(_: Person, __: Mapping[str, Any]) -> dict[str, Any]:
        end()
        return {}

    posts: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "begin": asked(begin),
        "state": asked(state),
        "answer": asked(answer, judge=True),
        "undo": asked(lambda person, _: session.undo(str(person.judge)), judge=True),
        "ranking": asked(lambda *_: session.ranking(), starter=True),
        "comparisons": asked(comparisons, starter=True),
        "withdraw": asked(withdraw, starter=True),
        "judges": asked(judges, starter=True),
        "train": asked(train, starter=True),
        "training": asked(lambda *_: training.told(), starter=True),
        "end": asked(finish, starter=True),
    }
    below: list[BaseRoute] = [
        Route("/", show),
        Route("/image/{number:int}/{longest:int}", image),
        Route("/places/{number:int}", places),
        Route("/{table}.csv", table),
        Route("/network.onnx", network),
        *(Route(f"/{name}", endpoint, methods=["POST"]) for name, endpoint in posts.items()),
        Route("/{name}", static),
    ]

    async def stranger(_: Request) -> Response:
        raise _refusal()

    return [Mount("/{key}", routes=below), Route("/", stranger)]


def _admitted(
    persons: Sequence[Person], key: str, *, starter: bool = False, judge: bool = False
) -> Person:
    """Return whose key it is. All keys are compared, each in constant time."""
    found = [p for p in persons if hmac.compare_digest(p.key.encode(), key.encode())]
    if not found or (starter and not found[0].starter) or (judge and found[0].judge is None):
        raise _refusal()
    return found[0]


def _refusal() -> HTTPException:
    return HTTPException(
        HTTPStatus.FORBIDDEN, "expected a link as 'kpairs label' shows it; ask who started it"
    )


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
