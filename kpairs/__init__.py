"""kpairs: given two images, say which one ranks higher.

The public names load on first use, because importing Keras and torch takes seconds:

>>> import kpairs
>>> kpairs.RECIPES["auxws"].epochs
40
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kpairs.backend import choose_backend

if TYPE_CHECKING:
    from kpairs import layers, losses, metrics, optimizers
    from kpairs.data.pairs import PairSet
    from kpairs.data.source import open_source
    from kpairs.data.splits import draw_pairs
    from kpairs.judging import Judgements, score
    from kpairs.loading import load
    from kpairs.models.outputs import Output
    from kpairs.networks import ARCHS, build
    from kpairs.recipes import Recipe
    from kpairs.reports import RECIPES
    from kpairs.training.evaluate import evaluate
    from kpairs.training.run import Run
    from kpairs.training.train import resume, train

__version__ = "0.2.0"

choose_backend()

_OBJECTS = ("layers", "losses", "metrics", "optimizers")  # modules of Keras objects
_HOMES = {
    "ARCHS": "kpairs.networks",
    "Judgements": "kpairs.judging",
    "Output": "kpairs.models.outputs",
    "PairModel": "kpairs.exports.runtime",
    "PairSet": "kpairs.data.pairs",
    "RECIPES": "kpairs.reports",
    "Recipe": "kpairs.recipes",
    "Run": "kpairs.training.run",
    "build": "kpairs.networks",
    "draw_pairs": "kpairs.data.splits",
    "evaluate": "kpairs.training.evaluate",
    "export": "kpairs.exports.writing.export",
    "label": "kpairs.exports.web.label.sitting",
    "load": "kpairs.loading",
    "open_source": "kpairs.data.source",
    "rank": "kpairs.exports.runtime.ranking",
    "resume": "kpairs.training.train",
    "score": "kpairs.judging",
    "train": "kpairs.training.train",
}
__all__ = [
    "ARCHS",
    "RECIPES",
    "Judgements",
    "Output",
    "PairModel",
    "PairSet",
    "Recipe",
    "Run",
    "__version__",
    "build",
    "draw_pairs",
    "evaluate",
    "export",
    "label",
    "layers",
    "load",
    "losses",
    "metrics",
    "open_source",
    "optimizers",
    "rank",
    "resume",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _OBJECTS:
        return import_module(f"kpairs.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'kpairs' has no attribute {name!r}")
    try:
        found = getattr(import_module(_HOMES[name]), name)
    except AttributeError as error:  # Python would say only that there is no such name here
        raise ImportError(f"cannot import {_HOMES[name]}: {error}") from error
    _register()
    return found


def _register() -> None:
    """Let `keras.saving.load_model` find kpairs' objects, once Keras is imported anyway."""
    if "keras" in sys.modules:
        for name in _OBJECTS:
            import_module(f"kpairs.{name}")


_register()


def __dir__() -> list[str]:
    return __all__
