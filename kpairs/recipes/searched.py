"""The fields of a recipe that can be searched, and ranges of them."""

import math
from dataclasses import dataclass

from kpairs.errors import UsageError
from kpairs.recipes.recipe import FIELDS

# How many pairs are drawn, and of which images, is part of the question. Beside these fields of the
# recipe, every argument of the architectures can be searched.
_FIXED = {
    "data",
    "columns",
    "words",
    "images",
    "group",
    "classes",
    "image_size",
    "pairs",
    "test_pairs",
}
_FIXED |= {"rounds", "seed", "arch_options", "optimizer_options"}
SEARCHED = (
    "loss_weights",
    *(n for n, f in FIELDS.items() if f.info.description and n not in _FIXED),
)


@dataclass(frozen=True)
class Between:
    """A range of a hyperparameter, ends included, for samplers that draw from ranges.

    Drawn by its logarithm where the ends are above 0 and a factor of 10 or more apart; whole
    numbers where both ends are.

    Raises:
        UsageError: ends that are not finite, or the wrong way round.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (self.low < self.high and self.high - self.low < math.inf):
            raise UsageError(f"expected a range of low..high, received {self.low}..{self.high}")
