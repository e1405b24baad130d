"""The page as one string of HTML: its markup, its scripts, its data, and perhaps a network."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import onnx
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from kpairs.data.pairs import PairSet
from kpairs.data.settings import INKS, PixelSettings
from kpairs.errors import UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.web.network import graph_of

LARGEST = 2 * 2**20  # bytes of a page with a network: what a phone loads at once
_PAIRS, _SAMPLE_BYTES = 20, 100_000
_SCRIPTS = ("network", "pictures", "page")


@cache
def script(name: str) -> str:
    """Read one of the page's scripts: "network", "pictures" or "page"."""
    return (files("kpairs.exports.web") / f"{name}.js").read_text(encoding="utf-8")


def about(name: str, description: Mapping[str, Any], pixels: PixelSettings) -> dict[str, Any]:
    """Describe a model to the page, by the name that it shows and its file's metadata."""
    trained = (description.get("training") or {}).get("data")
    error = description.get("test_error_pct", {}).get("comparison")
    parts = [f"{description['parameters']:,} weights"] if "parameters" in description else []
    tested = "left-out" if description.get("cross_validated") else "test"
    parts += [f"{error:.1f} % wrong on {tested} pairs"] if error is not None else []
    if pixels.features:
        raise UsageError(f"{name}: expected a network that takes pictures; it takes {pixels}")
    other = "dark" if pixels.ink == "bright" else "bright"
    return {
        "name": name,
        "about": ", ".join(parts),
        "classes": list(description["classes"]),
        "outputs": dict(description["outputs"]),
        "pixels": pixels.to_dict(),
        "far": f"is unlike the images that {name} was trained on"
        + (f" ({trained})" if trained else "")
        + "; answers on such pictures mean little",
        "doubt": f"looks {INKS[other]}; {name} is for pictures that are {INKS[pixels.ink]}, and "
        "its answers on others mean nothing",
    }


def samples_of(pictures: np.ndarray) -> dict[str, Any]:
    """Write `(n, height, width, channels)` uint8 pictures down as the page reads them."""
    count, height, width, channels = pictures.shape
    data = base64.b64encode(np.ascontiguousarray(pictures).tobytes()).decode()
    return {"count": count, "height": height, "width": width, "channels": channels, "data": data}


def page(config: Mapping[str, Any], *, title: str, footer: str, connect: str = "'none'") -> str:
    """Fill in the page.

    `config` is the data of page.js: `models` as `about` gives them, and perhaps `samples`, and
    `graph` and `expected` where the page has a network of its own. `connect` is whom the page may
    ask, as a content security policy says it.
    """
    shapes = {(m["pixels"]["height"], m["pixels"]["width"]) for m in config["models"]}
    drawable = shapes == {(14, 14)} and all(m["pixels"]["channels"] == 1 for m in config["models"])
    hint = "Draw two digits" if drawable else "Drop two pictures"
    environment = Environment(loader=PackageLoader("kpairs.exports.web", ""), autoescape=True)
    return environment.get_template("page.html.j2").render(
        config={**config, "drawable": drawable, "hint": hint},
        title=title,
        footer=footer,
        connect=connect,
        **{name: Markup(script(name)) for name in _SCRIPTS},
    )


def _training_images(model: PairModel) -> dict[str, Any] | None:
    """Write down for `strangeTo` in page.js what thumbnails of training images look like."""
    known = model.reference
    if known is None:
        return None
    near = len(known.spread)
    arrays = {"centre": known.centre, "scale": known.scale, "spread": known.spread}
    arrays["axes"] = known.axes[:, :near]
    return {
        **{n: base64.b64encode(a.astype("<f4").tobytes()).decode() for n, a in arrays.items()},
        "rest": known.rest,
        "limits": known.limits.tolist(),
    }


def standalone(proto: onnx.ModelProto, model: PairModel, pairs: PairSet) -> str:
    """Make the page of one network, as one file that needs nothing else.

    It carries the first of the test pairs, in 8 bits, and onnxruntime's answers to them: each
    browser that opens the page first sees whether it computes the same. Raises UsageError for a
    network that network.js does not run, or a page of more than 2 MiB.
    """
    if model.has_features and not model.pixels.features:
        raise UsageError(
            f"html: a page runs small networks; {model.arch} learned from features of a larger "
            "one. Export it with --onnx, or train a network such as ranker or auxws"
        )
    size = int(np.prod(model.pixels.shape))
    few = pairs.take(slice(min(_PAIRS, max(1, _SAMPLE_BYTES // size))))
    levels = np.rint(255 * np.stack([*few.inputs().values()], axis=1)).astype(np.uint8)
    asked = levels.astype(np.float32) / np.float32(255)  # (count, 2, *shape)
    values = model.compare(asked[:, 0], asked[:, 1])
    text = page(
        {
            "models": [about(model.arch, model.metadata, model.pixels)],
            "graph": graph_of(proto),
            "known": _training_images(model),
            "samples": samples_of(levels.reshape(-1, *model.pixels.shape)),
            "expected": {name: value.tolist() for name, value in values.items()},
        },
        title=f"{model.arch}: which one ranks higher?",
        footer="Made by kpairs. Everything is computed on this page; nothing is sent anywhere.",
    )
    if (received := len(text.encode())) > LARGEST:
        raise UsageError(
            f"html: expected a page of at most {LARGEST:,} bytes, received {received:,}; the "
            "network is too large for one"
        )
    return text
