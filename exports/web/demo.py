"""The page of `kpairs demo`: two pictures, and the answers of some models, side by side."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from kpairs.data.pixels import prepare
from kpairs.data.settings import DIGITS
from kpairs.data.source import open_source
from kpairs.errors import InputError, KpairsError
from kpairs.exports.runtime import PairModel
from kpairs.exports.runtime.explain import explain_pixels
from kpairs.exports.runtime.heat import caption, coloured, data_url, scale_of
from kpairs.exports.web.page import about, page, samples_of
from kpairs.exports.web.server import json_endpoint

_SAMPLES = 200
_SIDES = ("left", "right")


def demo_routes(
    models: Mapping[str, PairModel], samples: np.ndarray | None = None
) -> list[BaseRoute]:
    """Make the demo's routes, for a `LocalServer`, of models by the names that the page shows.

    `samples` are `(n, height, width, channels)` uint8 pictures to offer, bright on dark.
    """
    config: dict[str, Any] = {
        "models": [about(name, m.metadata, m.pixels) for name, m in models.items()],
        "explains": True,
    }
    if samples is not None:
        config["samples"] = samples_of(samples)
    text = page(
        config,
        title="kpairs demo",
        footer="Answered on this machine by onnxruntime; nothing is stored or sent elsewhere.",
        connect="'self'",
    )

    async def show(_: Request) -> Response:
        return HTMLResponse(text)

    return [
        Route("/", show),
        Route("/compare", json_endpoint(lambda body: _compare(models, body)), methods=["POST"]),
    ]


def _compare(models: Mapping[str, PairModel], body: bytes) -> dict[str, Any]:
    """Answer a request of the page: of each model its input, outputs, doubts, and perhaps maps.

    The body is JSON with `left` and `right`, image files as base64, and perhaps `explain` (maps are
    wanted) and `as_is`, the sides whose picture the page made: bright on dark, so that no ink is
    guessed.
    """
    try:
        sent = json.loads(body)
        files = {s: base64.b64decode(sent[s], validate=True) for s in _SIDES}
        as_is = {str(side) for side in sent.get("as_is", ())}
        explained = sent.get("explain") is True
    except (AttributeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError("expected JSON with left and right, images as base64") from error
    answers = [_answer(model, files, as_is, explained) for model in models.values()]
    return {"models": answers}


def _answer(
    model: PairModel, files: Mapping[str, bytes], as_is: set[str], explained: bool
) -> dict[str, Any]:
    own = replace(model.pixels, ink="mixed")
    seen = {
        side: prepare(BytesIO(data), own if side in as_is else model.pixels, side)
        for side, data in files.items()
    }
    values = model.compare(seen["left"].pixels, seen["right"].pixels)
    answer = {
        "seen": {side: each.pixels.ravel().tolist() for side, each in seen.items()},
        "doubtful": [side for side, each in seen.items() if each.doubtful[0]],
        "far": [side for side, each in seen.items() if _is_far(model, each.pixels)],
        "outputs": {name: value[0].tolist() for name, value in values.items()},
    }
    if explained:
        found = explain_pixels(model, *(each.pixels[0] for each in seen.values()))
        most = scale_of(found.maps)
        urls = [data_url(coloured(values, most)) for values in found.maps]
        answer["maps"] = {"caption": caption(found), **dict(zip(_SIDES, urls, strict=True))}
    return answer


def _is_far(model: PairModel, pixels: np.ndarray) -> bool:
    """Tell whether a picture is unlike the training images, where the file knows these."""
    placed = model.place(pixels)
    return placed is not None and bool(model.reference.distance(placed)[0] > 1)


def offered_digits(
    models: Sequence[PairModel], data_root: str | Path | None = None
) -> np.ndarray | None:
    """Return some of MNIST's test digits, 28x28; None for other models, or without the data."""
    if any(model.pixels.shape != DIGITS.shape for model in models):
        return None
    try:
        images = np.asarray(open_source("mnist", root=data_root, fetch=False).split("test").images)
    except KpairsError:
        return None
    chosen = np.random.default_rng().choice(len(images), _SAMPLES, replace=False)
    return images[chosen][..., None]
