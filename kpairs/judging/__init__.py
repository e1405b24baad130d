"""Scores, judges and questions from judgements of pairs. NumPy and SciPy alone."""

from kpairs.judging.agreement import Share, agreement, alpha
from kpairs.judging.choice import Proposal, propose
from kpairs.judging.features import prepare_features
from kpairs.judging.judgements import Judgements
from kpairs.judging.judges import Judge, describe_judges, fit_judges
from kpairs.judging.model import Posterior, Scales, bradley_terry, fit
from kpairs.judging.scores import Scores, enough, expected_tau, measured_scale, score, without_last

__all__ = [
    "Judge",
    "Judgements",
    "Posterior",
    "Proposal",
    "Scales",
    "Scores",
    "Share",
    "agreement",
    "alpha",
    "bradley_terry",
    "describe_judges",
    "enough",
    "expected_tau",
    "fit",
    "fit_judges",
    "measured_scale",
    "prepare_features",
    "propose",
    "score",
    "without_last",
]
