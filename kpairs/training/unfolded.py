"""Networks with the layers of their towers one by one."""

from collections.abc import Callable
from typing import Any

import keras

from kpairs.models.pair import is_tower
from kpairs.training.engine.private import run_through_graph


def unfolded(model: keras.Model) -> keras.Model:
    """Return the same network without models for towers; it has the same layers and variables.

    `Identity` layers, with which a `Pair` orders calls, are left out. Operations run in the order
    of their depth, across towers: the engine draws dropout in that order. Model files of earlier
    versions hold such a network.

    Args:
        model: a functional `keras.Model` with towers.
    """

    def inside(operation: keras.Operation) -> Callable[..., Any]:
        if isinstance(operation, keras.layers.Identity):
            return lambda x, **options: x
        if not is_tower(operation):
            return operation
        return lambda x, **options: run_through_graph(operation)(x, operation_fn=inside)

    outputs = run_through_graph(model)(model.input, operation_fn=inside)
    return keras.Model(model.input, outputs, name=model.name)
