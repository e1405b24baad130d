"""The optimizers that recipes name."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kpairs")
class TorchAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba, 2014) as `torch.optim.Adam` computes it.

    torch adds epsilon to the root of the bias-corrected second moment, Keras to that of the
    uncorrected one, so that in the first steps Keras' epsilon is up to 30 times as large. Arguments
    are those of `keras.optimizers.Adam`.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Step one variable by its gradient, both of the same shape."""
        step = ops.cast(self.iterations + 1, variable.dtype)
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        first_correction = 1 - ops.power(ops.cast(self.beta_1, variable.dtype), step)
        root = ops.sqrt(1 - ops.power(ops.cast(self.beta_2, variable.dtype), step))
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1 - self.beta_2))
        # Keras' step with epsilon scaled by what it leaves uncorrected.
        move = rate * root / first_correction * m / (ops.sqrt(v) + self.epsilon * root)
        self.assign_sub(variable, move)


OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "adadelta": keras.optimizers.Adadelta,
    "torch_adam": TorchAdam,
}
