"""Learning rates over a training."""

import math

import keras
from keras import KerasTensor, ops


@keras.saving.register_keras_serializable("kpairs")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """The one-cycle policy: a cosine up to the highest learning rate, then one down to near 0.

    Smith and Topin (2018), with the constants of torch's `OneCycleLR`: it begins at 1/25 of the
    highest rate, reaches that after 30 % of the steps, and ends at 1e-4 of where it began.

    Args:
        highest: the highest learning rate.
        steps: of the optimizer in the whole training.
    """

    def __init__(self, highest: float, steps: int) -> None:
        self.highest, self.steps = highest, steps

    def __call__(self, step: KerasTensor | int) -> KerasTensor:
        begin, end = self.highest / 25, self.highest / 25e4
        last = max(self.steps - 1, 1)
        peak = max(0.3 * self.steps - 1, 1e-9)
        step = ops.cast(step, keras.config.floatx())
        up = _cosine(begin, self.highest, ops.minimum(step / peak, 1))
        down = _cosine(self.highest, end, ops.clip((step - peak) / max(last - peak, 1e-9), 0, 1))
        return ops.where(step <= peak, up, down)

    def get_config(self) -> dict[str, float]:
        return {"highest": self.highest, "steps": self.steps}


def _cosine(start: float, end: float, share: KerasTensor) -> KerasTensor:
    return end + (start - end) / 2 * (1 + ops.cos(math.pi * share))
