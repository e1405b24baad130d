"""Effects of one ingredient: networks with and without it, by their reports' recipes.

Networks are compared round by round: all networks of a study draw the same pairs in a round, so
that what a round makes hard for both cancels in the difference. A network that a report trains with
and without an ingredient in several settings counts once: its differences are averaged within the
round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize

from kpairs.numbers import interval
from kpairs.recipes import Ingredient
from kpairs.studies.rows import name_of

OUTCOMES = YES, OPEN, OPPOSITE = "yes", "open", "no"
_RESOLUTION = 0.1**2 / 12  # variance by rounding: an error is known to one pair of 1,000
_FEWEST = 3  # rounds, for a variance that means something
_NETWORK = ["ingredient", "report", "network"]


@dataclass(frozen=True)
class Effect:
    """A mean difference of test error, with an ingredient minus without, in points."""

    networks: int  # count of networks in the mean
    mean: float
    low: float  # end of the 95 % interval
    high: float


def pool(networks: pd.DataFrame) -> Effect:
    """Estimate the mean effect over networks, by their mean and its variance; these are a sample.

    A random-effects mean: the variance between networks by Paule and Mandel (1982), which suits few
    networks of unlike precision best (Veroniki et al., 2016), the interval by Knapp and Hartung
    (2003), with a factor of at least 1, so that networks that agree by luck do not make it narrower
    than the chance of training allows.
    """
    y, v = networks["mean"].to_numpy(), networks["variance"].to_numpy()
    freedom = len(y) - 1

    def excess(tau2: float) -> float:
        return _dispersion(y, v + tau2)[0] - freedom

    most = len(y) * np.ptp(y) ** 2  # where the dispersion is at most 1
    tau2 = optimize.brentq(excess, 0, most) if excess(0) > 0 else 0.0
    spread, mean = _dispersion(y, v + tau2)
    error = np.sqrt(max(1.0, spread / freedom) / (1 / (v + tau2)).sum())
    return Effect(len(y), mean, *interval(mean, error, freedom))


def _dispersion(y: NDArray[np.float64], v: NDArray[np.float64]) -> tuple[float, float]:
    """Return the weighted sum of squares about the weighted mean (Cochran's Q), and that mean."""
    mean = np.average(y, weights=1 / v)
    return ((y - mean) ** 2 / v).sum(), mean


def mean_of(paired: pd.DataFrame) -> Effect | None:
    """Estimate the mean effect on these very networks of one report, each counted alike.

    They share the pairs of a round, so their `differences` are averaged within it; the interval is
    Student's t over the rounds that all of them have. None where there are fewer than three.
    """
    networks = of_networks(paired)["network"]
    table = paired[paired["network"].isin(networks)].pivot_table(
        index="round", columns="network", values="difference"
    )
    rounds = table.dropna().mean(axis="columns")
    if len(rounds) < _FEWEST:
        return None
    error, mean = np.sqrt(max(rounds.var(), _RESOLUTION) / len(rounds)), rounds.mean()
    return Effect(table.shape[1], mean, *interval(mean, error, len(rounds) - 1))


def without_collapsed(paired: pd.DataFrame) -> pd.DataFrame:
    """Leave out the rounds in which a training of these `differences` collapsed."""
    return paired[~paired["round"].isin(paired.loc[paired["collapsed"], "round"])]


def borne_out(claim: str, effect: Effect | None) -> str:
    """Say whether an effect lies on the side of 0 that an `Ingredient`'s claim names.

    One of `OUTCOMES`; "" of no claim, "too few rounds" of no effect.
    """
    if not claim:
        return ""
    if effect is None:
        return "too few rounds"
    if effect.low <= 0 <= effect.high:
        return OPEN
    return YES if (claim == "lowers") == (effect.high < 0) else OPPOSITE


def differences(
    rows: Mapping[str, pd.DataFrame], ingredients: Mapping[str, Sequence[Ingredient]]
) -> pd.DataFrame:
    """Pair trainings with an ingredient and without, round by round, of all reports.

    A `DataFrame` of ingredient, report, network, without, with, round, difference (of the test
    errors, with minus without, in points), collapsed (either), error_without and error_with.
    """
    pairs = pd.DataFrame(
        [
            (ingredient.name, report, without.split()[0], without, with_)
            for report, declared in ingredients.items()
            for ingredient in declared
            for without, with_ in ingredient.pairs
        ],
        columns=[*_NETWORK, "without", "with"],
    )
    trainings = pd.concat(
        [frame.assign(report=report, name=name_of(frame)) for report, frame in rows.items()]
    )[["report", "name", "round", "test_error_pct", "collapsed"]]
    trainings = trainings.rename(columns={"test_error_pct": "error"})
    both = pairs.merge(trainings, left_on=["report", "without"], right_on=["report", "name"]).merge(
        trainings,
        left_on=["report", "with", "round"],
        right_on=["report", "name", "round"],
        suffixes=("_without", "_with"),
    )
    collapsed = (both["collapsed_without"] > 0) | (both["collapsed_with"] > 0)
    return both.assign(difference=both["error_with"] - both["error_without"], collapsed=collapsed)


def of_networks(paired: pd.DataFrame, by: Sequence[str] = _NETWORK) -> pd.DataFrame:
    """Average `differences` within each round, then over the rounds of each network.

    A `DataFrame` by network: mean, variance (of the mean), rounds, low and high (95 %, Student's
    t). Networks with fewer than three rounds in common are left out.
    """
    by = list(by)
    rounds = paired.groupby([*by, "round"], sort=False)["difference"].mean()
    frame = rounds.groupby(by, sort=False).agg(["mean", "var", "count"]).reset_index()
    frame = frame[frame["count"] >= _FEWEST].rename(columns={"count": "rounds"})
    frame["variance"] = frame.pop("var").clip(lower=_RESOLUTION) / frame["rounds"]
    low, high = interval(frame["mean"], frame["variance"] ** 0.5, frame["rounds"] - 1)
    return frame.assign(low=low, high=high)
