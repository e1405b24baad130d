"""What of a recipe can be searched, and ranges of it."""

import math
from dataclasses import dataclass, fields

from kpairs.errors import UsageError
from kpairs.recipes.recipe import Recipe

# Which pairs are drawn and how often is the question's, not the answer's. Beside these fields of
# the recipe, every argument of the architectures can be searched.
_FIXED = {"data", "classes", "image_size", "pairs", "test_pairs", "rounds", "seed"}
SEARCHED = (
    "loss_weights",
    *(f.name for f in fields(Recipe) if "help" in f.metadata and f.name not in _FIXED),
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
