"""Accuracy where not every target says which decision is right, beside Keras' own metrics."""

from typing import Any

import keras
from keras import KerasTensor, ops


class PartialAccuracy(keras.metrics.Mean):
    """The share of right decisions among the samples whose target decides anything.

    A base class: `PairAccuracy` and `ClassAccuracy` define `decided`, and so may yours.
    """

    def decided(self, y_true: KerasTensor, y_pred: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        """Return which decisions are right and which of them count, both `(batch,)` booleans."""
        raise NotImplementedError

    def update_state(
        self, y_true: KerasTensor, y_pred: KerasTensor, sample_weight: KerasTensor | None = None
    ) -> None:
        """Count a batch; samples count by their weights, where Keras hands some over."""
        # Not in the dtype of predictions: half precision rounds 0.501 to a tie, and class 257.
        y_true, y_pred = (ops.cast(values, self.dtype) for values in (y_true, y_pred))
        y_true = y_true[:, 0] if len(y_true.shape) == 2 else y_true  # the others are margins
        right, counted = self.decided(y_true, y_pred)
        weight = ops.cast(counted, self.dtype)
        if sample_weight is not None:
            weight = weight * ops.cast(ops.reshape(sample_weight, (-1,)), self.dtype)
        super().update_state(ops.cast(right, self.dtype), weight)


@keras.saving.register_keras_serializable("kpairs")
class PairAccuracy(PartialAccuracy):
    """Accuracy of comparisons by the judges' majority; ties do not count.

    Args:
        name: name of the metric.
        dtype: dtype of its results; default Keras' `floatx`.
        threshold: predictions of one column above it say "left ranks no higher": 0.5 for
            probabilities, 0 for logits.

    Inputs:
        `y_true`: `(batch,)` or `(batch, 1)`, the judged probability that left ranks no higher.
        `y_pred`: `(batch, 2)`, of "left ranks higher" and "left ranks no higher", or `(batch, 1)`,
        of the latter alone.

    Example:
    >>> from kpairs.metrics import PairAccuracy
    >>> metric = PairAccuracy()
    >>> metric.update_state([1.0, 0.0, 0.5], [[0.2, 0.8], [0.4, 0.6], [0.9, 0.1]])
    >>> float(metric.result())  # the first is right, the second wrong, the third a tie
    0.5
    """

    def __init__(
        self, name: str = "pair_accuracy", dtype: Any = None, threshold: float = 0.5
    ) -> None:
        super().__init__(name, dtype)
        self.threshold = threshold

    def decided(self, y_true: KerasTensor, y_pred: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        """Return which decisions are right and which of them count, both `(batch,)` booleans."""
        one = y_pred.shape[-1] == 1
        right = y_pred[:, 0] > self.threshold if one else y_pred[:, 1] > y_pred[:, 0]
        return ops.equal(right, y_true > 0.5), ops.not_equal(y_true, 0.5)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for saving."""
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable("kpairs")
class ClassAccuracy(PartialAccuracy):
    """Accuracy of the most probable class; images of unknown class, -1, do not count.

    Args:
        name: name of the metric.
        dtype: dtype of its results; default Keras' `floatx`.

    Inputs:
        `y_true`: `(batch,)` or `(batch, 1)` class numbers.
        `y_pred`: `(batch, n)` logits or probabilities.

    Example:
    >>> from kpairs.metrics import ClassAccuracy
    >>> metric = ClassAccuracy()
    >>> metric.update_state([0, 1, -1], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> float(metric.result())
    0.5
    """

    def __init__(self, name: str = "class_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def decided(self, y_true: KerasTensor, y_pred: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        """Return which decisions are right and which of them count, both `(batch,)` booleans."""
        best = ops.cast(ops.argmax(y_pred, -1), y_true.dtype)
        return ops.equal(best, y_true), y_true >= 0


def accuracy_of(kind: str, name: str) -> keras.metrics.Metric:
    """Return the accuracy metric of an output whose targets are class numbers.

    Args:
        kind: a key of `kpairs.models.outputs.OUTPUT_KINDS`.
        name: name of the metric.
    """
    if kind == "sigmoid":
        return keras.metrics.BinaryAccuracy(name, threshold=0.5)
    return keras.metrics.SparseCategoricalAccuracy(name)
