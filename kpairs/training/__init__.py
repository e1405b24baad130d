"""Training and evaluating: from a recipe to a run folder and back.

Names load on first use, so that a run folder can be looked at without importing Keras.
"""

from importlib import import_module

_HOMES = {"Run": "runs", "evaluate": "rounds", "resume": "jobs", "train": "jobs"}
__all__ = ["Run", "evaluate", "resume", "train"]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'kpairs.training' has no attribute {name!r}")
    return getattr(import_module(f"kpairs.training.{_HOMES[name]}"), name)
