"""Networks of one kind: a test of what only the kind decides runs on one of each."""

from functools import cache

from kpairs.networks import ARCHS, build
from kpairs.reports import RECIPES


@cache
def families():
    """The smallest network of each kind: of the same operations, outputs and optimizer."""
    models = sorted(map(build, ARCHS), key=lambda model: model.count_params())
    kinds = {}
    for model in models:
        operations = frozenset(map(type, model.operations))
        outputs = tuple(ARCHS[model.name].outputs.values())
        kinds.setdefault((operations, outputs, RECIPES[model.name].optimizer), model.name)
    return sorted(kinds.values())
