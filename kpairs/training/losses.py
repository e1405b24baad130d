"""The loss and the accuracy metric that fit each kind of output."""

from collections.abc import Callable
from typing import TypeAlias

import keras
from keras import KerasTensor

Loss: TypeAlias = keras.losses.Loss | Callable[[KerasTensor, KerasTensor], KerasTensor]


def crossentropy_of_logits_from_probabilities(
    y_true: KerasTensor, y_pred: KerasTensor
) -> KerasTensor:
    """Cross-entropy whose softmax is applied to probabilities, as if they were logits.

    What torch's `CrossEntropyLoss` computes on the output of a softmax layer: the "double softmax"
    of reports 000 and 002. Its value is never below log(1 + (n - 1) / e), and its gradient is
    bounded. The zero is added because Keras on tensorflow recognises
    the output of a softmax and silently takes the logits before it.

    Args:
        y_true: `(batch,)` class numbers.
        y_pred: `(batch, n)` probabilities.

    Returns:
        `(batch,)` losses.
    """
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred + 0.0, from_logits=True)


class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy with label smoothing (Szegedy et al., 2016) of class numbers.

    Args:
        smoothing: the share of the target that is spread evenly over all classes.
        from_logits: whether outputs are logits, or probabilities taken as logits.
    """

    def __init__(self, smoothing: float, from_logits: bool) -> None:
        super().__init__(name="smoothed_crossentropy")
        self.smoothing, self.from_logits = smoothing, from_logits

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        y_pred = y_pred + 0.0  # as above
        # Not of one-hot targets: making those looks at values, which a lowered step cannot.
        sharp = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, self.from_logits)
        if self.from_logits:
            logs = keras.ops.log_softmax(y_pred)
        else:
            logs = keras.ops.log(keras.ops.maximum(y_pred, keras.config.epsilon()))
        return (1 - self.smoothing) * sharp - self.smoothing * keras.ops.mean(logs, axis=-1)


class JudgedCrossentropy(keras.losses.Loss):
    """Cross-entropy of a comparison with the probability that people's judgements came to.

    Of Bradley and Terry's model that is the log-likelihood of the judgements; a tie, 1/2, pulls the
    two scores together.

    Args:
        kind: of the comparison, a key of `kpairs.models.outputs.OUTPUT_KINDS`.
        from_logits: whether it is logits, or probabilities taken as logits.
    """

    def __init__(self, kind: str, from_logits: bool) -> None:
        super().__init__(name="judged_crossentropy")
        self.kind, self.from_logits = kind, from_logits

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        y_true = keras.ops.reshape(y_true, (-1, 1))
        if self.from_logits:  # a softmax over two is a sigmoid of their difference
            y_pred = y_pred[:, 1:] - y_pred[:, :1]
        elif self.kind == "probabilities":
            y_pred = y_pred[:, 1:]
        return keras.losses.binary_crossentropy(y_true, y_pred, self.from_logits)


class KnownClasses(keras.losses.Loss):
    """A loss of class numbers, averaged over the images whose class is known; -1 is an unknown one.

    Args:
        loss: of `(y_true, y_pred)`: a Keras loss, or a function that gives `(batch,)`.
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__(name="known_classes")
        self.loss = loss.call if isinstance(loss, keras.losses.Loss) else loss

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        ops = keras.ops
        known = y_true >= 0
        losses = self.loss(ops.where(known, y_true, 0), y_pred)
        share = ops.mean(ops.cast(known, losses.dtype))
        return ops.where(known, losses, 0) / ops.maximum(share, keras.config.epsilon())


class PartialAccuracy(keras.metrics.Mean):
    """Share of right decisions among the samples whose target says anything."""

    def decided(self, y_true: KerasTensor, y_pred: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        """Which decisions are right, and which count: both `(batch,)` and true or false."""
        raise NotImplementedError

    def update_state(
        self, y_true: KerasTensor, y_pred: KerasTensor, sample_weight: KerasTensor | None = None
    ) -> None:
        """Count a batch; weights of samples make no difference."""
        ops = keras.ops
        right, told = self.decided(ops.reshape(ops.cast(y_true, y_pred.dtype), (-1,)), y_pred)
        super().update_state(ops.cast(right, y_pred.dtype), ops.cast(told, y_pred.dtype))


class JudgedAccuracy(PartialAccuracy):
    """Of comparisons: by the judgements' majority; ties say nothing."""

    def decided(self, y_true: KerasTensor, y_pred: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        higher = y_pred[:, 0] > 0.5 if y_pred.shape[-1] == 1 else y_pred[:, 1] > y_pred[:, 0]
        return keras.ops.equal(higher, y_true > 0.5), keras.ops.not_equal(y_true, 0.5)


class KnownAccuracy(PartialAccuracy):
    """Of classes: by the most probable one; an unknown class, -1, says nothing."""

    def decided(self, y_true: KerasTensor, y_pred: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        best = keras.ops.cast(keras.ops.argmax(y_pred, -1), y_true.dtype)
        return keras.ops.equal(best, y_true), y_true >= 0


def loss_of(kind: str, probabilities_as_logits: bool, smoothing: float = 0.0) -> Loss:
    """The loss of an output of this kind, averaged over the batch.

    Args:
        kind: a key of `kpairs.models.outputs.OUTPUT_KINDS`.
        probabilities_as_logits: the recipe's property of that name.
        smoothing: of the labels; 0 for none.
    """
    if smoothing:
        return SmoothedCrossentropy(smoothing, kind == "logits" or probabilities_as_logits)
    if kind == "sigmoid":
        return keras.losses.BinaryCrossentropy(from_logits=False)
    if kind == "probabilities" and probabilities_as_logits:
        return crossentropy_of_logits_from_probabilities
    return keras.losses.SparseCategoricalCrossentropy(from_logits=kind == "logits")


def accuracy_of(kind: str, name: str) -> keras.metrics.Metric:
    """The accuracy metric of an output of this kind."""
    if kind == "sigmoid":
        return keras.metrics.BinaryAccuracy(name, threshold=0.5)
    return keras.metrics.SparseCategoricalAccuracy(name)
