"""The comparison that needs no learning: from what is known of the two digits."""

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

Shape = tuple[Any, ...]  # numbers, and None for the batch

_LEAST = 1e-30  # a probability whose logarithm float32 still holds


@keras.saving.register_keras_serializable("kpairs")
class PosteriorComparison(keras.layers.Layer):
    """P(left <= right) from the posteriors of two independent digits, exactly.

    With p_i the probability that the left image is class i and q_j that the right one is class j,

        P(left <= right) = sum over i <= j of p_i q_j,

    and P(left > right) is the sum over i > j. Both are computed as logarithms, by a logsumexp over
    the logarithms of the products, so that neither vanishes, however sure the digits are; the
    comparison's gradient reaches the digits through them. The layer has no parameters.

    Args:
        digits: kind of the two inputs: "logits" or "probabilities".
        output: kind of the result, a key of `kpairs.models.outputs.OUTPUT_KINDS`.
        **options: of `keras.layers.Layer`.

    Inputs:
        `[left, right]`, each `(batch, n)`, n >= 2.

    Returns:
        For "logits" `(batch, 2)`: [log P(left > right), log P(left <= right)], whose softmax is
        the probabilities; for "probabilities" `(batch, 2)` those; for "sigmoid" `(batch, 1)`,
        P(left <= right).

    Raises:
        ValueError: an unknown kind, or inputs of other or different widths.
    """

    def __init__(self, digits: str = "logits", output: str = "logits", **options: Any) -> None:
        super().__init__(**options)
        for kind, known in (
            (digits, ("logits", "probabilities")),
            (output, ("logits", "probabilities", "sigmoid")),
        ):
            if kind not in known:
                raise ValueError(f"expected one of {', '.join(known)}, received {kind!r}")
        self.digits, self.output_kind = digits, output

    def build(self, input_shape: list[Shape]) -> None:
        left, right = input_shape
        if left[-1] != right[-1] or left[-1] < 2:
            raise ValueError(
                f"expected two inputs of one width of at least 2, received {left} and {right}"
            )

    def call(self, inputs: list[KerasTensor]) -> KerasTensor:
        left, right = (self._logarithms(x) for x in inputs)
        products = ops.expand_dims(left, 2) + ops.expand_dims(right, 1)  # (batch, i, j)
        ordered = np.triu(np.ones(products.shape[1:], bool))  # i <= j
        results = [
            ops.logsumexp(ops.where(kept, products, -np.inf), axis=(1, 2))
            for kept in (~ordered, ordered)
        ]
        if self.output_kind == "sigmoid":
            return ops.exp(results[1])[:, None]
        both = ops.stack(results, axis=-1)
        return both if self.output_kind == "logits" else ops.exp(both)

    def _logarithms(self, x: KerasTensor) -> KerasTensor:
        if self.digits == "logits":
            return ops.log_softmax(x, axis=-1)
        return ops.log(ops.clip(x, _LEAST, 1.0))

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        return (input_shape[0][0], 1 if self.output_kind == "sigmoid" else 2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "digits": self.digits, "output": self.output_kind}
