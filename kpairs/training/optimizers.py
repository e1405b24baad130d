"""The optimizers that recipes name."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import KerasTensor, ops


@keras.saving.register_keras_serializable("kpairs")
class TorchAdam(keras.optimizers.Optimizer):
    """Adam (Kingma and Ba, 2014) as `torch.optim.Adam` computes it.

    torch adds epsilon to the root of the bias-corrected second moment, Keras to that of the
    uncorrected one, so that in the first steps Keras' epsilon is up to 30 times as large.

    Args:
        learning_rate: as every optimizer of Keras takes it.
        beta_1: decay of the first moment, the mean of gradients.
        beta_2: decay of the second moment, the mean of their squares.
        epsilon: added to the denominator.
        **options: of `keras.optimizers.Optimizer`.
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
        """Make the two moments of each variable, zeros."""
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


OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "adadelta": keras.optimizers.Adadelta,
    "torch_adam": TorchAdam,
}
