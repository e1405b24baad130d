"""Scores, judges and questions from judgements of pairs. NumPy and SciPy alone."""

from kpairs.judging.choice import Proposal, propose
from kpairs.judging.judgements import Judgements
from kpairs.judging.model import Posterior, Scales, bradley_terry, fit, prepare_features

__all__ = [
    "Judgements",
    "Posterior",
    "Proposal",
    "Scales",
    "bradley_terry",
    "fit",
    "prepare_features",
    "propose",
]
