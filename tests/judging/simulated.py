"""Answers of simulated judges, for the tests of this folder."""

import numpy as np

from kpairs.judging import Judgements


def answers(scores, size, rng, *, tie=0.0, judge=None, slope=(1.0,), pull=(0.0,)):
    """Draw answers about random pairs; each judge has a slope and a pull to the right."""
    count = len(scores)
    left = rng.integers(0, count, size)
    right = (left + rng.integers(1, count, size)) % count
    judge = np.zeros(size, int) if judge is None else judge
    d = np.asarray(slope)[judge] * (scores[right] - scores[left]) + np.asarray(pull)[judge]
    odds = np.stack([np.ones(size), tie * np.exp(d / 2), np.exp(d)])
    part = np.cumsum(odds / odds.sum(axis=0), axis=0)
    outcome = np.sum(rng.random(size) > part[:2], axis=0) / 2
    return Judgements(left, right, outcome, count, judge)
