"""Training and evaluating: from a recipe to a run folder and back."""

from kpairs.training.rounds import evaluate, train
from kpairs.training.runs import Run

__all__ = ["Run", "evaluate", "train"]
