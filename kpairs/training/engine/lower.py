"""Entrance to the engine, and its guard."""

import re
from collections.abc import Hashable

import keras
import torch


class NotLowerable(Exception):
    """A model that cannot be lowered; the message says why."""


def lower(
    model: keras.Model,
    x: dict[str, torch.Tensor],
    y: dict[str, torch.Tensor],
    sample_weight: torch.Tensor | None = None,
    *,
    alike: Hashable | None = None,
) -> None:
    """Replace a compiled model's train and test functions by graphs of torch operations.

    `fit` and `evaluate` then use those. All around them stays Keras': the loop over epochs,
    callbacks, the names of losses and metrics, saving. The model's parameters become views of one
    vector, which the optimizer, made anew from its configuration, steps as a whole, so
    `model.optimizer` holds the state of that vector. What layers hold as plain numbers, such as a
    dropout rate, is that of the moment. `compile` undoes it all.

    Args:
        model: a compiled functional `keras.Model` on torch, float32 or float64, with a dict of
            inputs and one of outputs, not trained since it was compiled.
        x: one batch of inputs, a dict of tensors by name.
        y: its targets, the same.
        sample_weight: how much each sample of the batch counts in the losses, a tensor; None for
            all alike.
        alike: anything hashable that says which models' steps are the same but for the values of
            their variables, and of `Rescaling` layers: what one of them traces is used by all in
            this process. None for a model that shares nothing.

    Raises:
        NotLowerable: a layer, loss, metric or optimizer does what a graph cannot hold, or this
            release of Keras or torch lacks what the engine needs. The model then trains by Keras'
            own steps as before.
    """
    if keras.backend.backend() != "torch":
        raise NotLowerable(f"graphs are of torch operations, the backend is {keras.backend()}")
    try:
        # Here, not above: whatever these modules do not find must not end a training.
        from kpairs.training.engine.step import attach

        attach(model, x, y, sample_weight, alike)
    except NotLowerable:
        raise
    except Exception as error:
        raise NotLowerable(_summary(error)) from error


def _summary(error: Exception) -> str:
    """Return the first lines of a message: Keras wraps it in its own, in bold."""
    lines = re.sub("\x1b\\[[0-9]*m", "", str(error)).split("\n")
    return " ".join([line for line in lines if line.strip()][:2]) or type(error).__name__
