"""Reported numbers held against ours.

A number is *as expected* where the 95 % interval of our mean minus the reported one holds 0, with
as many rounds as the report has (Welch's t, from means, standard deviations and counts).

A second verdict takes all of our rounds and a margin: a tenth of the reported error, at least one
point and at most two.

- agrees: the whole interval lies inside the margin;
- differs: the interval excludes 0 and is not inside the margin;
- cannot tell: more rounds of ours would tell, or none would, because the report's are too few.

Where a report gives one number without a deviation, its rounds (one, where none are stated) are
taken to deviate as ours do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from kpairs.numbers import interval, welch
from kpairs.recipes import Study
from kpairs.reports import REPORTS
from kpairs.reports.reported import reported

AGREES, DIFFERS, NOT_RUN = "agrees", "differs", "not run"
OUR_ROUNDS = "cannot tell (our rounds)"
NO_ROUNDS = "cannot tell (no rounds of ours would)"
QUICK = "no verdict (a quick run)"
VERDICTS = (AGREES, DIFFERS, OUR_ROUNDS, NO_ROUNDS, NOT_RUN)
_DRAWS = 10_000
_ENOUGH = 20  # rounds of ours, to be drawn from


@dataclass(frozen=True)
class Metric:
    """A report's metric, computed from a training's row."""

    label: str  # on pages and axes
    column: str  # of the row: an error in percent
    accuracy: bool = False  # True for 100 minus the error
    unit: float = 1.0  # size of one point (of percent) in the metric
    digits: int = 2  # after the point, when it is written

    def of(self, error: Any) -> Any:
        """Return the metric of an error in percent."""
        return self.unit * (100 - error if self.accuracy else error)

    def error(self, value: Any) -> Any:
        """Return the error in percent of a value of the metric."""
        return 100 - value / self.unit if self.accuracy else value / self.unit


METRICS = {
    "test_error_pct": Metric("test error (%)", "test_error_pct"),
    "train_error_pct": Metric("training error (%)", "train_error_pct"),
    "test_accuracy_pct": Metric("test accuracy (%)", "test_error_pct", True),
    "train_accuracy_pct": Metric("training accuracy (%)", "train_error_pct", True),
    "validation_accuracy": Metric("validation accuracy", "test_error_pct", True, 0.01, 3),
    "final_epoch_val_accuracy_pct": Metric("accuracy, last epoch (%)", "test_error_pct", True),
    "best_epoch_val_accuracy_pct": Metric("accuracy, best epoch (%)", "best_epoch_error_pct", True),
    "best_epoch_train_accuracy_pct": Metric(
        "training accuracy, its best epoch (%)", "least_train_error_pct", True
    ),
}


def margin_of(error: ArrayLike) -> NDArray[np.float64]:
    """Return the largest difference, in points, at which a number of this error (%) agrees."""
    return np.clip(np.asarray(error) / 10, 1, 2)


def judge(
    mean: ArrayLike,
    std: ArrayLike,
    count: ArrayLike,
    their_mean: ArrayLike,
    their_std: ArrayLike,
    their_count: ArrayLike,
    margin: ArrayLike,
    limit: ArrayLike = np.inf,
) -> pd.DataFrame:
    """Apply the rule to many comparisons at once: arrays of one length, or numbers.

    Standard deviations are with n - 1, NaN where there is none; counts are 0 or NaN where unknown;
    `margin` is in the unit of the means; `limit` is the most rounds of ours that there can be,
    since a cross-validation has its folds. Returns a `DataFrame` of the difference, low, high (ends
    of the interval), p_value (Welch's t-test) and verdict.
    """
    ours = np.broadcast_arrays(mean, std, count, limit)
    means, stds, counts, limits = (np.asarray(a, float) for a in ours)
    theirs = their_mean, their_std, their_count
    their_means, their_stds, their_counts = (np.asarray(a, float) for a in theirs)
    their_counts = np.nan_to_num(their_counts, nan=1)
    assumed = np.isnan(their_stds) | (their_counts < 2)
    others = np.where(assumed, stds, their_stds), their_counts
    difference = means - their_means

    def test(counts: NDArray[np.float64]) -> tuple[Any, Any, Any]:
        error, freedom = welch(stds, counts, *others)
        freedom = np.where(assumed, counts - 1, freedom)
        return error, freedom, interval(0, error, freedom)[1]

    error, freedom, half = test(counts)
    _, _, most = test(limits)
    size = np.abs(difference)
    with np.errstate(invalid="ignore", divide="ignore"):
        p_value = np.where(error == 0, size == 0, 2 * stats.t.sf(size / error, freedom))
    would_tell = (size + most <= margin) | (size > most)
    verdict = np.select(
        [~(counts > 0), counts < 2, size + half <= margin, size > half, would_tell],
        [NOT_RUN, OUR_ROUNDS, AGREES, DIFFERS, OUR_ROUNDS],
        NO_ROUNDS,
    )
    columns = {"low": difference - half, "high": difference + half, "p_value": p_value}
    return pd.DataFrame(
        {"difference": difference, **columns, "verdict": verdict}, index=np.arange(size.size)
    )


def resampled(values: ArrayLike, their_count: int, stated: bool, p_value: float) -> float:
    """Return Welch's p-value, calibrated by our own `(n,)` rounds, collapsed ones included.

    As many rounds as the report has and as we have are drawn from ours with replacement, 10,000
    times, always the same, and tested as they were. The result is the share of draws with a p-value
    as small; NaN for fewer than 20 rounds. `stated` tells that the report states their deviation.
    """
    values = np.asarray(values, float)
    if values.size < _ENOUGH:
        return np.nan
    rng, counts = np.random.default_rng(0), (values.size, their_count)
    found = 0
    for _ in range(_DRAWS // 1000):  # of 1,000 draws each, which memory holds
        ours, theirs = (rng.choice(values, (1000, count)) for count in counts)
        theirs_std = theirs.std(axis=1, ddof=1) if stated and their_count > 1 else np.nan
        mine = ours.mean(axis=1), ours.std(axis=1, ddof=1), values.size
        tested = judge(*mine, theirs.mean(axis=1), theirs_std, their_count, 0)["p_value"]
        found += int((tested <= p_value * (1 + 1e-6)).sum())  # alike but for rounding
    return (1 + found) / (1 + _DRAWS)


def numbers_of(report: str) -> pd.DataFrame:
    """Return a report's numbers: a `DataFrame` of the `Reported`, their order in `number`."""
    frame = pd.DataFrame(reported(report)).astype({"std": float, "rounds": float})
    return frame.assign(number=np.arange(len(frame)))


_NUMBER = ["table", "arch", "model", "setting", "metric", "mean", "std", "rounds", "note", "number"]


def compare(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """Hold each number of a study's tables and metrics against its rows, as `beside` does."""
    values = measured(study, rows)
    if study.report not in REPORTS:
        return beside(pd.DataFrame(columns=_NUMBER), values, study.rounds)
    numbers = numbers_of(study.report)
    mine = numbers["table"].isin(study.tables) & numbers["metric"].isin(study.metrics)
    frame = beside(numbers[mine], values, study.rounds)
    unjudged = {"verdict": QUICK, "as_expected": "", "p_value": np.nan, "resampled_p_value": np.nan}
    return frame if study.judged else frame.assign(**unjudged)


def measured(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows as values of the study's metrics.

    A `DataFrame` of arch, setting (the report's), variant (ours where it is another), round,
    metric, value, collapsed, and limit (the most rounds that there can be).
    """
    settings = pd.DataFrame(
        [
            (s.recipe.network.arch, s.setting, s.reported_as, s.folds or np.inf)
            for s in study.settings
        ],
        columns=["arch", "variant", "reported", "limit"],
    )
    rows = rows.rename(columns={"setting": "variant"}).merge(settings, on=["arch", "variant"])
    rows["variant"] = rows["variant"].where(rows["variant"] != rows["reported"], "")
    rows = rows.rename(columns={"reported": "setting"})
    kept = rows[["arch", "setting", "variant", "round", "collapsed", "limit"]]
    parts = [
        kept.assign(metric=name, value=METRICS[name].of(rows[METRICS[name].column]))
        for name in study.metrics
    ]
    return pd.concat(parts) if parts else kept.assign(metric="", value=np.nan)[:0]


def beside(
    numbers: pd.DataFrame,
    values: pd.DataFrame,
    rounds: int,
    keys: Sequence[str] = ("arch", "setting", "metric"),
) -> pd.DataFrame:
    """Compare reported `numbers_of` a report with the means of our values, as `measured`.

    A number is as expected, or not, by our first `rounds` alone, as many as the report has. A value
    belongs to a number by the columns `keys`.

    Returns a `DataFrame` with a row for every number and one more for every variant of it: the
    columns of `numbers`, `variant`, and by all of our rounds `ours`, `ours_std`, `ours_median`,
    `ours_rounds`, `collapsed`, `margin`, those of `judge` and, of numbers that differ,
    `resampled_p_value`; by the first ones `first_ours`, `first_std`, `first_rounds`, `first_low`,
    `first_high`, `first_p_value`, and `as_expected`: "yes", "no", "" of nothing.
    """
    keys = list(keys)
    frame = _held(numbers, values, keys).assign(resampled_p_value=np.nan)
    groups = values.groupby([*keys, "variant"])
    for place, row in frame[frame["verdict"] == DIFFERS].iterrows():
        mine = groups["value"].get_group(tuple(row[[*keys, "variant"]]))
        count = 1 if np.isnan(row["rounds"]) else int(row["rounds"])
        p_value = resampled(mine, count, not np.isnan(row["std"]), row["p_value"])
        frame.loc[place, "resampled_p_value"] = p_value
    first = _held(numbers, values[values["round"] <= rounds], keys)
    first = first.rename(columns={"ours_std": "std_", "ours_rounds": "rounds_"})
    known = ["ours", "std_", "rounds_", "low", "high", "p_value"]
    kept = first[["number", "variant", *known]].rename(
        columns={name: f"first_{name.rstrip('_')}" for name in known}
    )
    frame = frame.merge(kept, how="left", on=["number", "variant"])
    beyond = (frame["first_low"] > 0) | (frame["first_high"] < 0)
    return frame.assign(
        as_expected=np.select([frame["first_low"].isna(), beyond], ["", "no"], "yes")
    )


def _held(numbers: pd.DataFrame, values: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return numbers beside the means of all these values, judged."""
    ours = values.groupby([*keys, "variant"]).agg(
        ours=("value", "mean"),
        ours_std=("value", "std"),
        ours_median=("value", "median"),
        ours_rounds=("value", "count"),
        collapsed=("collapsed", "sum"),
        limit=("limit", "max"),
    )
    ours = ours.reset_index()
    plain = ours["variant"] == ""
    parts = [
        numbers.merge(ours[plain], how="left", on=keys),
        numbers.merge(ours[~plain], how="inner", on=keys),
    ]
    frame = pd.concat(parts).sort_values("number", kind="stable", ignore_index=True)
    frame["variant"] = frame["variant"].fillna("")
    frame[["ours_rounds", "collapsed"]] = frame[["ours_rounds", "collapsed"]].fillna(0).astype(int)
    metrics = [METRICS[name] for name in frame["metric"]]
    error = [m.error(value) for m, value in zip(metrics, frame["mean"], strict=True)]
    frame["margin"] = margin_of(error) * [m.unit for m in metrics]
    theirs = frame["mean"], frame["std"], frame["rounds"], frame["margin"]
    judged = judge(frame["ours"], frame["ours_std"], frame["ours_rounds"], *theirs, frame["limit"])
    return frame.join(judged).drop(columns="limit")
