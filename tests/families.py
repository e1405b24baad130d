"""Which networks a test of all networks runs on: all, one of each kind, or as few as will do.

The lists are written down, since building every network takes seconds in each process that collects
tests; tests/models/test_networks.py holds them against the networks.
"""

import keras
import pytest

from kpairs.networks import ARCHS, build
from kpairs.reports import RECIPES
from kpairs.training.unfolded import unfolded

# The smallest network of each kind: of the same operations, outputs and optimizer. Dropout makes no
# kind: where these run it is off, and its place has tests of its own.
FAMILIES = (
    *("a_w_net", "auxnet2", "auxnet3", "auxranker", "auxws", "basic", "basicnet1", "c2l2_ws"),
    *("cnn_base", "conv_1", "conv_3", "fc_1", "posterior_s", "ranker", "resnet", "simple"),
    *("w_net", "ws", "wsal", "wsal_b"),
)
# Small networks in which every kind of output of the others occurs, and of operation, too.
OUTPUTS = ("c2l2_ws", "conv_1", "posterior_s", "ranker")
FEW = (*OUTPUTS, "auxnet2", "resnet")


def chosen():
    """`FAMILIES`, `OUTPUTS` and `FEW` as sets, by the networks themselves."""
    trained = (name for name, about in ARCHS.items() if not about.linear)  # by steps
    models = sorted(map(build, trained), key=lambda model: model.count_params())
    kinds, outputs, few = {}, {}, {}
    for model in models:
        name, operations = model.name, frozenset(map(type, unfolded(model).operations))
        its = tuple(ARCHS[name].outputs.items())
        kind = operations - {keras.layers.Dropout}, its, RECIPES[name].optimizer.name
        kinds.setdefault(kind, name)
        for seen, parts in ((outputs, {*its}), (few, {*its, *operations})):
            if not parts <= {part for known in seen.values() for part in known}:
                seen[name] = parts
    return set(kinds.values()), set(outputs), set(few)


def networks(always, among=ARCHS):
    """Parametrize a test over networks; those that are not named run with the slow tests."""
    return pytest.mark.parametrize(
        "name",
        [pytest.param(n, marks=[] if n in always else [pytest.mark.slow]) for n in sorted(among)],
    )
