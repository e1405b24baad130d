"""An optimizer and a learning rate schedule as torch has them, beside those of Keras."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import KerasTensor, ops


@keras.saving.register_keras_serializable("kpairs")
class TorchAdam(keras.optimizers.Optimizer):
    """Adam (Kingma and Ba, 2014) as `torch.optim.Adam` computes it.

    With gradient g, learning rate r and step t, from 1::

        m = beta_1 m + (1 - beta_1) g
        v = beta_2 v + (1 - beta_2) g^2
        w = w - r m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon).

    Keras adds epsilon to the root of v itself, without the bias correction, so that in the first
    steps its epsilon is up to 30 times as large.

    Args:
        learning_rate: a number or a schedule, as every optimizer of Keras takes it.
        beta_1: decay of the first moment, the mean of gradients.
        beta_2: decay of the second moment, the mean of their squares.
        epsilon: added to the denominator.
        **options: arguments of `keras.optimizers.Optimizer`.

    Example:
    >>> import keras
    >>> from kpairs.optimizers import TorchAdam
    >>> weight = keras.Variable([1.0])
    >>> TorchAdam(0.25).apply([keras.ops.array([3.0])], [weight])
    >>> round(weight.numpy().item(), 4)  # the first step is as long as the learning rate
    0.75
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the two moments of each variable, zeros."""
        if self.built:
            return
        super().build(variables)
        self.moments = self.add_optimizer_variables(variables, ["momentum", "velocity"])

    def update_step(
        self, gradient: KerasTensor, variable: keras.Variable, learning_rate: KerasTensor
    ) -> None:
        """Step one variable by its gradient, both of the same shape."""
        kind = variable.dtype
        gradient, rate = ops.cast(gradient, kind), ops.cast(learning_rate, kind)
        step = ops.cast(self.iterations + 1, kind)
        first_correction = 1 - ops.power(ops.cast(self.beta_1, kind), step)
        root = ops.sqrt(1 - ops.power(ops.cast(self.beta_2, kind), step))
        index = self._get_variable_index(variable)  # as Keras' guide to optimizers has it
        m, v = (moments[index] for moments in self.moments)
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1 - self.beta_2))
        # The second moment stays uncorrected, and epsilon is scaled by what that leaves out.
        move = rate * root / first_correction * m / (ops.sqrt(v) + self.epsilon * root)
        self.assign_sub(variable, move)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for saving."""
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kpairs")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """The one-cycle policy: the learning rate rises along a cosine, then falls to almost 0.

    Smith and Topin (2018), with the constants of torch's `OneCycleLR`: it begins at 1/25 of the
    highest rate, reaches that after 30 % of the steps, and ends at 1e-4 of where it began.

    Args:
        highest: the highest learning rate.
        steps: steps of the optimizer in the whole training.

    Example:
    >>> from kpairs.optimizers import OneCycle
    >>> schedule = OneCycle(0.01, steps=100)
    >>> [round(float(schedule(step)), 6) for step in (0, 29, 99)]
    [0.0004, 0.01, 0.0]
    """

    def __init__(self, highest: float, steps: int) -> None:
        self.highest, self.steps = highest, steps

    def __call__(self, step: KerasTensor | int) -> KerasTensor:
        """Return the learning rate of a step, counted from 0."""
        begin, end = self.highest / 25, self.highest / 25e4
        last = max(self.steps - 1, 1)
        peak = max(0.3 * self.steps - 1, 1e-9)
        step = ops.cast(step, keras.config.floatx())
        up = _cosine(begin, self.highest, ops.minimum(step / peak, 1))
        down = _cosine(self.highest, end, ops.clip((step - peak) / max(last - peak, 1e-9), 0, 1))
        return ops.where(step <= peak, up, down)

    def get_config(self) -> dict[str, float]:
        """Return the arguments, for saving."""
        return {"highest": self.highest, "steps": self.steps}


def _cosine(start: float, end: float, share: KerasTensor) -> KerasTensor:
    return end + (start - end) / 2 * (1 + ops.cos(math.pi * share))


OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "adadelta": keras.optimizers.Adadelta,
    "torch_adam": TorchAdam,
}
