"""Losses for pairs of images, beside those of Keras.

| target of the output | loss |
|---|---|
| judged probability that the left image ranks no higher | `PairCrossentropy`, `PairwiseLoss` |
| 1 where left <= right, else 0 | `PairCrossentropy`, or Keras' own |
| class numbers | `keras.losses.SparseCategoricalCrossentropy` |
| class numbers: unknown ones, smoothed, or a double softmax | `ClassCrossentropy` |
| none: a score, which learns from the comparison | none |
"""

from types import ModuleType
from typing import Any

import keras
from keras import KerasTensor, ops

from kpairs.errors import UsageError, unknown

LOGISTIC = "logistic"  # the loss of scores that is the comparison's own
UNKNOWN = -1  # the class number of an image whose class nobody gave


@keras.saving.register_keras_serializable("kpairs")
class PairCrossentropy(keras.losses.Loss):
    """Cross-entropy between predicted comparisons and the judged probability of each pair.

    With t the judged probability that the left image ranks no higher, and p the predicted one,

        loss = -t log p - (1 - t) log(1 - p),

    the negative log-likelihood of Bradley and Terry's model. A tie, t = 0.5, pulls the scores of
    both images together.

    Args:
        from_logits: whether predictions are logits; probabilities that are taken as logits are
            what reports 000 and 002 train by.
        reduction: how losses of a batch are reduced, as in every loss of Keras.
        name: name of the loss.
        dtype: dtype of its computations; default Keras' `floatx`.

    Inputs:
        `y_true`: `(batch,)` or `(batch, 1)`, t in [0, 1].
        `y_pred`: `(batch, 2)`, of "left ranks higher" and "left ranks no higher", or `(batch, 1)`,
        of the latter alone.

    Example:
    >>> from kpairs.losses import PairCrossentropy
    >>> loss = PairCrossentropy(from_logits=True)
    >>> judged = [1.0, 0.0, 0.5]  # left ranks no higher; left ranks higher; a tie
    >>> scores = [[0.2, 1.2], [2.0, 0.0], [0.7, 0.7]]  # of the left and the right image
    >>> round(float(loss(judged, scores)), 4)
    0.3778
    """

    def __init__(
        self,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str = "pair_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.from_logits = from_logits

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each pair, `(batch,)`."""
        y_true, y_pred = ops.reshape(y_true, (-1, 1)), ops.convert_to_tensor(y_pred)
        if y_pred.shape[-1] == 2:  # a softmax over two is a sigmoid of their difference
            y_pred = y_pred[:, 1:] - y_pred[:, :1] if self.from_logits else y_pred[:, 1:]
        return keras.losses.binary_crossentropy(y_true, y_pred, self.from_logits)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for saving."""
        return {**super().get_config(), "from_logits": self.from_logits}


PAIRWISE = {"hinge": "PairwiseHingeLoss", "soft_zero_one": "PairwiseSoftZeroOneLoss"}
_MARGINS = {"hinge": 1.0, "soft_zero_one": 0.0}  # those of keras-rs


@keras.saving.register_keras_serializable("kpairs")
class PairwiseLoss(keras.losses.Loss):
    """A pairwise loss of keras-rs on the scores of both images, for judged probabilities.

    With d the winner's score minus the other's, and m the pair's margin, "hinge" is max(0, m - d)
    and "soft_zero_one" is 1 - sigmoid(d - m). Without margins m is 1 for hinge, and else 0. Each
    side's loss counts by the judged probability that this side ranks higher, so that a tie pulls
    the scores of both images together.

    Args:
        kind: "hinge" or "soft_zero_one".
        reduction: how losses of a batch are reduced, as in every loss of Keras.
        name: name of the loss.
        dtype: dtype of its computations; default Keras' `floatx`.

    Inputs:
        `y_true`: `(batch,)` or `(batch, 1)`, the judged probability that left ranks no higher; or
        `(batch, 2)`, that and the margin.
        `y_pred`: `(batch, 2)`, the scores of the left and the right image.

    Raises:
        UsageError: an unknown kind; keras-rs is not installed, when the loss is computed.

    Example:
    >>> from kpairs.losses import PairwiseLoss
    >>> loss = PairwiseLoss("hinge")
    >>> loss.get_config()["kind"]
    'hinge'
    """

    from_logits = True

    def __init__(
        self,
        kind: str,
        reduction: str | None = "sum_over_batch_size",
        name: str = "pairwise_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if kind not in PAIRWISE:
            raise unknown("kind", kind, PAIRWISE)
        self.kind = kind

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each pair, `(batch,)`."""
        pairwise = getattr(_keras_rs().losses, PAIRWISE[self.kind])()
        y_pred = ops.convert_to_tensor(y_pred)
        y_true = ops.cast(y_true, y_pred.dtype)
        shift = ops.zeros_like(y_pred[:, 0])
        if len(y_true.shape) == 2 and y_true.shape[-1] == 2:  # the winner's score, less what it
            shift = y_true[:, 1] - _MARGINS[self.kind]  # should lead by beyond the loss' own margin
            y_true = y_true[:, 0]
        y_true = ops.reshape(y_true, (-1,))
        zero, one = ops.zeros_like(shift), ops.ones_like(shift)
        right, left = (  # the loss where that side is said to rank higher
            ops.sum(
                pairwise.call(
                    ops.stack(labels, axis=1),
                    ops.stack([y_pred[:, i] - shift * labels[i] for i in (0, 1)], axis=1),
                ),
                axis=-1,
            )
            for labels in ((zero, one), (one, zero))
        )
        return y_true * right + (1 - y_true) * left

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for saving."""
        return {**super().get_config(), "kind": self.kind}


def check_pair_loss(kind: str, scored: bool, arch: str) -> None:
    """Refuse a loss of scores where it cannot train.

    Args:
        kind: "logistic", which is the comparison's own, or a kind of `PairwiseLoss`.
        scored: True where the comparison's logits are the scores of both images, and are trained.
        arch: the architecture, for messages.

    Raises:
        UsageError: a network whose comparison is no such pair of scores; keras-rs is missing.
    """
    if kind == LOGISTIC:
        return
    if not scored:
        raise UsageError(
            f"pair_loss {kind}: expected a network that scores images, such as ranker, received "
            f"{arch}"
        )
    _keras_rs()


def _keras_rs() -> ModuleType:
    try:
        import keras_rs
    except ImportError as error:
        raise UsageError(
            "losses of pairs beside logistic: keras-rs is not installed; "
            "pip install 'kpairs[ranking]'"
        ) from error
    return keras_rs


@keras.saving.register_keras_serializable("kpairs")
class ClassCrossentropy(keras.losses.Loss):
    """Cross-entropy of class numbers, with label smoothing, averaged over known classes.

    With n classes, predicted probabilities p and the true class c,

        loss = -(1 - smoothing) log p[c] - smoothing / n * sum over i of log p[i].

    With `from_logits` p is the softmax of the predictions. Predictions that are probabilities then
    pass a second softmax, as they do in torch's `CrossEntropyLoss`: the "double softmax" of
    reports 000 and 002, whose loss is never below log(1 + (n - 1) / e).

    Args:
        from_logits: whether predictions are logits, or are taken as such.
        label_smoothing: the share of the target that is spread evenly over all classes.
        ignore_class: the number that stands for an unknown class; images of it count nothing, and
            the mean is taken over the others. None where all are known.
        reduction: how losses of a batch are reduced, as in every loss of Keras.
        name: name of the loss.
        dtype: dtype of its computations; default Keras' `floatx`.

    Inputs:
        `y_true`: `(batch,)` or `(batch, 1)` class numbers.
        `y_pred`: `(batch, n)`.

    Example:
    >>> from kpairs.losses import ClassCrossentropy
    >>> loss = ClassCrossentropy(ignore_class=-1)
    >>> round(float(loss([0, 2, -1], [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])), 4)
    0.4581
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "class_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing
        self.ignore_class = ignore_class

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of each image, `(batch,)`."""
        y_true, y_pred = ops.reshape(y_true, (-1,)), ops.convert_to_tensor(y_pred)
        if self.ignore_class is not None:
            known = ops.not_equal(y_true, self.ignore_class)
            y_true = ops.where(known, y_true, 0)
        # The zero: Keras on tensorflow recognises the output of a softmax layer, and would
        # silently take the logits before it.
        losses = self._of_known(y_true, y_pred + 0.0)
        if self.ignore_class is None:
            return losses
        losses = ops.where(known, losses, 0)
        if self.reduction in (None, "none", "sum"):
            return losses
        share = ops.mean(ops.cast(known, losses.dtype))  # the mean is over the whole batch
        return losses / ops.maximum(share, keras.config.epsilon())

    def _of_known(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        sharp = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, self.from_logits)
        if not self.label_smoothing:
            return sharp
        # Not by one-hot targets: making those looks at values, which a traced step cannot.
        if self.from_logits:
            logs = ops.log_softmax(y_pred)
        else:
            logs = ops.log(ops.maximum(y_pred, keras.config.epsilon()))
        return (1 - self.label_smoothing) * sharp - self.label_smoothing * ops.mean(logs, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for saving."""
        own = ("from_logits", "label_smoothing", "ignore_class")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def loss_of(
    kind: str, probabilities_as_logits: bool, smoothing: float = 0.0, unknown: bool = False
) -> keras.losses.Loss:
    """Return the loss of an output whose targets are class numbers.

    Args:
        kind: a key of `kpairs.models.outputs.OUTPUT_KINDS`.
        probabilities_as_logits: the recipe's property of that name.
        smoothing: the share of label smoothing; 0 for none.
        unknown: whether a class may be `UNKNOWN`.
    """
    if kind == "sigmoid":
        return keras.losses.BinaryCrossentropy(from_logits=False)
    as_logits = kind == "logits" or probabilities_as_logits
    if smoothing or unknown or (as_logits and kind == "probabilities"):
        return ClassCrossentropy(as_logits, smoothing, UNKNOWN if unknown else None)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=kind == "logits")
