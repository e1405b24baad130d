"""kpairs: given two images, say which one ranks higher.

The public names load on first use, because importing Keras and torch takes seconds:

>>> import kpairs
>>> kpairs.RECIPES["auxws"].epochs
40
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kpairs.data import Digits, PairSet, augment_pairs, draw_pairs, load_digits
    from kpairs.exports.runtime.model import PairModel
    from kpairs.exports.runtime.ranking import rank
    from kpairs.exports.writing.export import export
    from kpairs.networks import ARCHS, build
    from kpairs.recipes import Recipe
    from kpairs.reports import RECIPES
    from kpairs.training.evaluate import evaluate
    from kpairs.training.run import Run
    from kpairs.training.train import resume, train

__version__ = "0.1.0"

# Keras reads its backend once, at import. Its own default is tensorflow, which kpairs does not
# install; ~/.keras/keras.json is no sign of a choice, because Keras writes that file itself.
if not os.environ.get("KERAS_BACKEND"):
    os.environ["KERAS_BACKEND"] = "torch"

_HOMES = {
    "ARCHS": "kpairs.networks",
    "Digits": "kpairs.data",
    "PairModel": "kpairs.exports.runtime.model",
    "PairSet": "kpairs.data",
    "RECIPES": "kpairs.reports",
    "Recipe": "kpairs.recipes",
    "Run": "kpairs.training.run",
    "augment_pairs": "kpairs.data",
    "build": "kpairs.networks",
    "draw_pairs": "kpairs.data",
    "evaluate": "kpairs.training.evaluate",
    "export": "kpairs.exports.writing.export",
    "load_digits": "kpairs.data",
    "rank": "kpairs.exports.runtime.ranking",
    "resume": "kpairs.training.train",
    "train": "kpairs.training.train",
}
__all__ = [
    "ARCHS",
    "RECIPES",
    "Digits",
    "PairModel",
    "PairSet",
    "Recipe",
    "Run",
    "__version__",
    "augment_pairs",
    "build",
    "draw_pairs",
    "evaluate",
    "export",
    "load_digits",
    "rank",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kpairs' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except AttributeError as error:  # Python would say only that there is no such name here
        raise ImportError(f"cannot import {_HOMES[name]}: {error}") from error


def __dir__() -> list[str]:
    return __all__
