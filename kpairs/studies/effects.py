"""What one ingredient brings: the same network with it and without, over all reports.

Networks are compared round by round: all networks of a study draw the same pairs in a round, and
all folds cut the same pairs, so that what a round makes hard for both cancels in the difference.
A network that a report trains with and without an ingredient in several settings (at each weight
of the auxiliary losses, say) counts once: its differences are averaged within the round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from kpairs.recipes import Ingredient
from kpairs.reports.reported import reported
from kpairs.studies.compare import CONFIDENCE, METRICS
from kpairs.studies.rows import name_of

_STEP = 0.1  # points: one pair of 1,000, the finest that an error is known to
_FEWEST = 3  # rounds, for a variance that means something
_NETWORK = ["ingredient", "report", "network"]
_COMPARISON = [*_NETWORK, "without", "with"]


@dataclass(frozen=True)
class Effect:
    """A mean difference of test error, with an ingredient minus without, in points.

    Attributes:
        networks: how many it is a mean of.
        mean, low, high: the mean and its 95 % interval; the ends NaN where nothing gives them.
        tau: the standard deviation of the networks' true effects about their mean.
        i2: the share of the differences' variance, in percent, that is not chance of training.
        least, most: the smallest and the greatest difference of one network.
    """

    networks: int
    mean: float
    low: float
    high: float
    tau: float
    i2: float
    least: float
    most: float


def pool(networks: pd.DataFrame) -> Effect:
    """Estimate the mean effect over networks of which those at hand are a sample.

    A random-effects mean: the variance between networks by DerSimonian and Laird (1986), the
    interval by Knapp and Hartung (2003), with a factor of at least 1, so that networks that agree
    by luck do not make it narrower than the chance of training allows.

    Args:
        networks: two or more, with the columns mean and variance (of the mean).
    """
    y, v = networks["mean"].to_numpy(), networks["variance"].to_numpy()
    freedom = len(y) - 1
    q, _ = _dispersion(y, v)
    fixed = 1 / v
    tau2 = max(0.0, (q - freedom) / (fixed.sum() - (fixed**2).sum() / fixed.sum()))
    spread, mean = _dispersion(y, v + tau2)
    error = np.sqrt(max(1.0, spread / freedom) / (1 / (v + tau2)).sum())
    half = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * error
    i2 = 100 * max(0.0, 1 - freedom / q) if q else 0.0
    return Effect(len(y), mean, mean - half, mean + half, np.sqrt(tau2), i2, y.min(), y.max())


def _dispersion(y: NDArray[np.float64], v: NDArray[np.float64]) -> tuple[float, float]:
    """The weighted sum of squares about the weighted mean (Cochran's Q), and that mean."""
    mean = np.average(y, weights=1 / v)
    return ((y - mean) ** 2 / v).sum(), mean


def mean_of(networks: pd.DataFrame) -> Effect:
    """Estimate the mean effect on these very networks, each counted alike.

    Args:
        networks: one or more, with the columns mean, variance (of the mean) and rounds, from
            which the interval has its degrees of freedom (Satterthwaite).
    """
    y, v = networks["mean"].to_numpy(), networks["variance"].to_numpy()
    mean, error = y.mean(), np.sqrt(v.sum()) / len(y)
    freedom = v.sum() ** 2 / (v**2 / (networks["rounds"].to_numpy() - 1)).sum()
    half = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * error
    return Effect(len(y), mean, mean - half, mean + half, np.nan, np.nan, y.min(), y.max())


def differences(
    rows: Mapping[str, pd.DataFrame], ingredients: Mapping[str, Sequence[Ingredient]]
) -> pd.DataFrame:
    """Pair trainings with an ingredient and without, round by round.

    Args:
        rows: of all studies, by report, as `kpairs.studies.rows.collect` gives them.
        ingredients: the `Ingredient`s that each report declares, by report.

    Returns:
        A `DataFrame` of ingredient, report, network, without, with, round, difference (of the
        test errors, with minus without, in points), and error and collapsed of both sides
        (error_without, error_with, ...).
    """
    pairs = pd.DataFrame(
        [
            (ingredient.name, report, without.split()[0], without, with_)
            for report, declared in ingredients.items()
            for ingredient in declared
            for without, with_ in ingredient.pairs
        ],
        columns=_COMPARISON,
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
    return both.assign(difference=both["error_with"] - both["error_without"])


def of_networks(paired: pd.DataFrame, by: Sequence[str] = _NETWORK) -> pd.DataFrame:
    """Average `differences` within each round, then over the rounds of each network.

    Returns:
        A `DataFrame` by network: mean, median, variance (of the mean), rounds, low and high (95 %,
        Student's t). Networks with fewer than three rounds in common are left out.
    """
    by = list(by)
    rounds = paired.groupby([*by, "round"], sort=False)["difference"].mean()
    frame = rounds.groupby(by, sort=False).agg(["mean", "median", "var", "count"]).reset_index()
    frame = frame[frame["count"] >= _FEWEST].rename(columns={"count": "rounds"})
    frame["variance"] = frame.pop("var").clip(lower=_STEP**2 / 12) / frame["rounds"]
    half = stats.t.ppf((1 + CONFIDENCE) / 2, frame["rounds"] - 1) * frame["variance"] ** 0.5
    return frame.assign(low=frame["mean"] - half, high=frame["mean"] + half)


@dataclass(frozen=True)
class Finding:
    """What all trainings say of an ingredient.

    Attributes:
        name: of the ingredient.
        overall: the `Effect` expected of a network like those at hand; on the network itself
            where there is but one.
        sound: the same without the rounds in which either training collapsed; None where every
            round has one.
        median: of the networks' median differences, in points.
        trainings, collapsed: how many stand behind it, and how many of them collapsed.
        networks: `of_networks`, and the mean without collapsed rounds in `sound`.
        reports: the `Effect` on each report's networks.
    """

    name: str
    overall: Effect
    sound: Effect | None
    median: float
    trainings: int
    collapsed: int
    networks: pd.DataFrame
    reports: dict[str, Effect]


def findings(paired: pd.DataFrame) -> list[Finding]:
    """Pool the `differences` of each ingredient; none where no network has three rounds."""
    whole = of_networks(paired)
    both = (paired["collapsed_without"] > 0) | (paired["collapsed_with"] > 0)
    sound = of_networks(paired[~both])
    found = []
    for name, networks in whole.groupby("ingredient", sort=False):
        mine = paired[paired["ingredient"] == name]
        trainings = pd.concat(
            mine[["report", side, "round", f"collapsed_{side}"]].set_axis(
                ["report", "name", "round", "collapsed"], axis="columns"
            )
            for side in ("without", "with")
        ).drop_duplicates(["report", "name", "round"])
        kept = sound[sound["ingredient"] == name]
        networks = networks.merge(
            kept[[*_NETWORK, "mean"]].rename(columns={"mean": "sound"}), how="left", on=_NETWORK
        )
        found.append(
            Finding(
                name,
                _overall(networks),
                _overall(kept) if len(kept) else None,
                networks["median"].median(),
                len(trainings),
                int(trainings["collapsed"].sum()),
                networks,
                {key: mean_of(group) for key, group in networks.groupby("report", sort=False)},
            )
        )
    return found


def _overall(networks: pd.DataFrame) -> Effect:
    return (pool if len(networks) > 1 else mean_of)(networks)


def reported_differences(ingredients: Mapping[str, Sequence[Ingredient]]) -> pd.DataFrame:
    """The differences of test error that the reports themselves state, in points.

    Args:
        ingredients: as in `differences`.

    Returns:
        A `DataFrame` of ingredient, report, network, without, with and difference, of the pairs
        of which the report states both.
    """
    errors: dict[tuple[str, str], float] = {}
    for report in ingredients:
        for number in reported(report):
            metric = METRICS.get(number.metric)
            if metric and metric.column == "test_error_pct" and number.arch:
                name = f"{number.arch} {number.setting}".strip()
                errors.setdefault((report, name), metric.error(number.mean))
    return pd.DataFrame(
        [
            (ingredient.name, report, without.split()[0], without, with_, after - before)
            for report, declared in ingredients.items()
            for ingredient in declared
            for without, with_ in ingredient.pairs
            if (before := errors.get((report, without))) is not None
            and (after := errors.get((report, with_))) is not None
        ],
        columns=[*_COMPARISON, "difference"],
    )
