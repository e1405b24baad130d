"""Routes of the page to compare on."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from kpairs.errors import InputError, KpairsError
from kpairs.exports.web.label.people import Person, admitted, refusal
from kpairs.exports.web.label.session import Session
from kpairs.exports.web.label.training import Training
from kpairs.exports.web.server import json_endpoint

_FILES = {
    "page.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "ranking.js": "text/javascript",
}
_LARGEST = 10_000  # bytes of a request
_SCORES = ("file", "score", "low", "high", "rank", "best", "worst", "judgements")
Sent = Mapping[str, Any]  # a page's question, as JSON says it


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
    shown = _Shown(session, persons, training)
    told = _Told(session, persons, base, end, training)
    asked: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "begin": told.to(told.begin),
        "state": told.to(told.state),
        "answer": told.to(told.answer, judge=True),
        "undo": told.to(told.undo, judge=True),
        "ranking": told.to(lambda *_: session.ranking(), starter=True),
        "comparisons": told.to(told.comparisons, starter=True),
        "withdraw": told.to(told.withdraw, starter=True),
        "judges": told.to(told.judges, starter=True),
        "train": told.to(told.train, starter=True),
        "training": told.to(lambda *_: training.told(), starter=True),
        "end": told.to(told.end, starter=True),
    }
    below: list[BaseRoute] = [
        Route("/", shown.file),
        Route("/image/{number:int}/{longest:int}", shown.image),
        Route("/places/{number:int}", shown.places),
        Route("/{table}.csv", shown.table),
        Route("/network.onnx", shown.network),
        *(Route(f"/{name}", endpoint, methods=["POST"]) for name, endpoint in asked.items()),
        Route("/{name}", shown.file),
    ]
    return [Mount("/{key}", routes=below), Route("/", _refuse)]


async def _refuse(_: Request) -> Response:
    raise refusal()


class _Shown:
    """Endpoints that answer with a file: the page's own, images, tables, the network."""

    def __init__(self, session: Session, persons: Sequence[Person], training: Training) -> None:
        self._session, self._persons, self._training = session, persons, training
        page = files("kpairs.exports.web.label")
        self._files = {name: (page / name).read_bytes() for name in _FILES}
        self._turns = asyncio.Semaphore(os.cpu_count() or 1)  # of images that are decoded

    def _admit(self, request: Request, *, starter: bool = False) -> None:
        admitted(self._persons, request.path_params["key"], starter=starter)

    async def file(self, request: Request) -> Response:
        self._admit(request)
        name = request.path_params.get("name", "page.html")
        if name not in _FILES:
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such page")
        return Response(self._files[name], media_type=_FILES[name])

    async def image(self, request: Request) -> Response:
        self._admit(request)
        number, longest = request.path_params["number"], request.path_params["longest"]
        async with self._turns:
            found = await run_in_threadpool(self._session.picture, number, longest)
        size = {"Kpairs-Size": f"{found.width}x{found.height}"}
        return Response(found.data, media_type=found.kind, headers=size)

    async def places(self, request: Request) -> Response:
        self._admit(request, starter=True)
        images, number = self._session.images, request.path_params["number"]
        if number >= len(images.files):
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such image")
        file, name = images.files[number], images.names[number]
        async with self._turns:
            found = await run_in_threadpool(self._training.explained, file, name)
        return Response(found, media_type="image/png")

    async def table(self, request: Request) -> Response:
        self._admit(request, starter=True)
        name = request.path_params["table"]
        if name not in ("pairs", "scores"):
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such table")
        text = await run_in_threadpool(_table, self._session, name)
        attached = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
        return Response(text, media_type="text/csv", headers=attached)

    async def network(self, request: Request) -> Response:
        self._admit(request, starter=True)
        file = self._training.file
        if file is None or not file.is_file():
            raise HTTPException(HTTPStatus.NOT_FOUND, "no network was trained here")
        return FileResponse(file, filename=file.name)


class _Told:
    """Answers to what a page asks in JSON. Each takes who asks, and what was sent."""

    def __init__(
        self,
        session: Session,
        persons: Sequence[Person],
        base: str,
        end: Callable[[], None],
        training: Training,
    ) -> None:
        self._session, self._persons, self._training = session, persons, training
        self._base, self._end = base, end

    def to(
        self, answer: Callable[[Person, Sent], Any], **needed: bool
    ) -> Callable[[Request], Awaitable[Response]]:
        """Make the endpoint of an answer.

        Args:
            answer: one of the methods below.
            needed: who may ask, as `admitted` takes it.
        """

        def answered(body: bytes, key: str, **_: Any) -> Any:
            person = admitted(self._persons, key, **needed)
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

    def begin(self, person: Person, _: Sent) -> dict[str, Any]:
        return {
            "question": self._session.question,
            "ties": self._session.ties,
            "judge": person.judge,
            "starter": person.starter,
            "several": len(self._persons) > 1,
            "table": self._session.answers.path.name,
            "command": self._training.command() if person.starter else None,
            "notes": self._session.notes if person.starter else [],
        }

    def state(self, person: Person, _: Sent) -> dict[str, Any]:
        if person.judge is None:
            return self._session.progress()
        return self._session.state(person.judge)

    def answer(self, person: Person, sent: Sent) -> dict[str, Any]:
        seconds = sent["seconds"]
        if not isinstance(seconds, int | float) or seconds != seconds:
            raise TypeError
        return self._session.answer(
            str(person.judge), str(sent["question"]), str(sent["label"]), float(seconds)
        )

    def undo(self, person: Person, _: Sent) -> dict[str, Any]:
        return self._session.undo(str(person.judge))

    def comparisons(self, _: Person, sent: Sent) -> dict[str, Any]:
        return {"comparisons": self._session.comparisons(int(sent["image"]))}

    def withdraw(self, _: Person, sent: Sent) -> dict[str, Any]:
        self._session.withdraw(int(sent["row"]), str(sent["key"]))
        return self._session.progress()

    def judges(self, _: Person, __: Sent) -> dict[str, Any]:
        links = {p.judge: f"{self._base}{p.key}/" for p in self._persons if not p.starter}
        found = self._session.judges()
        for one in found["judges"]:
            one["link"] = links.get(one["name"])
        return found

    def train(self, _: Person, __: Sent) -> dict[str, Any]:
        self._training.start()
        return self._training.told()

    def end(self, _: Person, __: Sent) -> dict[str, Any]:
        self._end()
        return {}


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
