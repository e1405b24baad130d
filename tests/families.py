"""Which networks a test of all networks runs on: all, one of each kind, or as few as will do."""

from functools import cache

import keras
import pytest

from kpairs.networks import ARCHS, build
from kpairs.reports import RECIPES
from kpairs.training.unfolded import unfolded


@cache
def _networks():
    """Name, types of operations and kinds of outputs of every network, smallest first."""
    trained = (name for name, about in ARCHS.items() if not about.linear)  # by steps
    models = sorted(map(build, trained), key=lambda model: model.count_params())
    return [
        (
            model.name,
            frozenset(map(type, unfolded(model).operations)),
            tuple(ARCHS[model.name].outputs.items()),
        )
        for model in models
    ]


@cache
def families():
    """The smallest network of each kind: of the same operations, outputs and optimizer.

    Dropout makes no kind: where these run it is off, and its place has tests of its own.
    """
    kinds = {}
    for name, operations, outputs in _networks():
        kind = operations - {keras.layers.Dropout}, outputs, RECIPES[name].optimizer.name
        kinds.setdefault(kind, name)
    return sorted(kinds.values())


@cache
def few(operations=True):
    """Small networks in which every kind of output, and every operation, of the others occurs."""
    seen, chosen = set(), []
    for name, kinds, outputs in _networks():
        parts = set(outputs) | (kinds if operations else set())
        if not parts <= seen:
            chosen.append(name)
            seen |= parts
    return sorted(chosen)


def networks(always, among=ARCHS):
    """Parametrize a test over networks; those that are not named run with the slow tests."""
    return pytest.mark.parametrize(
        "name",
        [pytest.param(n, marks=[] if n in always else [pytest.mark.slow]) for n in sorted(among)],
    )
