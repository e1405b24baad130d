"""One rule that says whether a reported number and ours are the same.

The 95 % interval is that of our mean minus the reported one (Welch's t, from means, standard
deviations and counts; the counts are rounds). The margin is what a reader would call the same, set
by the reported number alone, before the Keras networks had their present trainings and after those
of the mini framework: a tenth of its error, but at least one point and at most two.
A verdict is one of

- agrees: the whole interval lies inside the margin, as two one-sided tests would have it;
- differs: the interval excludes 0 and is not inside the margin;
- cannot tell, because our rounds are too few: more of them would tell, if they went on as now;
- cannot tell, because no rounds of ours would: the report's are too few, or a cross-validation has
  no more folds.

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
    """A report's metric, computed from a training's row.

    Attributes:
        label: on pages and axes.
        column: of the row: an error in percent.
        accuracy: whether the metric is 100 minus the error.
        unit: how much of the metric one point (of percent) is.
        digits: after the point, when it is written.
    """

    label: str
    column: str
    accuracy: bool = False
    unit: float = 1.0
    digits: int = 2

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
    "validation_accuracy": Metric("validation accuracy", "test_error_pct", True, 0.01, 4),
    "final_epoch_val_accuracy_pct": Metric("accuracy, last epoch (%)", "test_error_pct", True),
    "best_epoch_val_accuracy_pct": Metric("accuracy, best epoch (%)", "best_epoch_error_pct", True),
    "best_epoch_train_accuracy_pct": Metric(
        "training accuracy, its best epoch (%)", "least_train_error_pct", True
    ),
}


def margin_of(error: ArrayLike) -> NDArray[np.float64]:
    """Return the largest difference, in points, at which a number counts as the same.

    Args:
        error: in percent, that the reported number means; an array or a number.
    """
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
    """Apply the rule to many comparisons at once.

    Args:
        mean: of our rounds. This and the others are arrays of one length, or numbers.
        std: of our rounds, with n - 1; NaN of a single round.
        count: of our rounds; 0 or NaN where there are none.
        their_mean: as reported.
        their_std: as reported; NaN where not stated.
        their_count: as reported; NaN where not stated.
        margin: in the unit of the means.
        limit: how many rounds of ours there can be; a cross-validation has its folds.

    Returns:
        A `DataFrame` of the difference, low, high (ends of the interval), p_value (of no
        difference, Welch's t-test) and verdict.
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
    """Return how often Welch's test finds as large a difference among our rounds alone.

    It takes rounds for normal, which they are not where some of them collapse: few without a
    collapsed one deviate little, and seem exact. Here as many as the report has and as we have are
    drawn from ours with replacement, 10,000 times, always the same, and tested as they were.

    Args:
        values: of our rounds, (n,).
        their_count: the report's rounds.
        stated: whether it states their deviation.
        p_value: what Welch's test gave.

    Returns:
        The share of draws with a p-value as small; NaN of less than 20 rounds.
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


def adjusted(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values for the false discovery rate (Benjamini and Hochberg); NaN stays NaN."""
    p_values = np.asarray(p_values, float)
    known = ~np.isnan(p_values)
    result = np.full(p_values.shape, np.nan)
    if known.any():
        result[known] = stats.false_discovery_control(p_values[known])
    return result


def numbers_of(report: str) -> pd.DataFrame:
    """Return a report's numbers: a `DataFrame` of the `Reported`, their order in `number`."""
    frame = pd.DataFrame(reported(report)).astype({"std": float, "rounds": float})
    return frame.assign(number=np.arange(len(frame)))


def compare(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """Hold each reported number of a study against the rows that stand for it.

    Args:
        study: whose tables and metrics are compared; none where it has no tables.
        rows: as `kpairs.studies.rows.collect` gives them.

    Returns:
        As `beside`, in the report's order.
    """
    if study.report not in REPORTS:
        return beside(pd.DataFrame(columns=_NUMBER), measured(study, rows))
    numbers = numbers_of(study.report)
    mine = numbers["table"].isin(study.tables) & numbers["metric"].isin(study.metrics)
    frame = beside(numbers[mine], measured(study, rows))
    unjudged = {"verdict": QUICK, "p_value": np.nan, "resampled_p_value": np.nan}
    return frame if study.judged else frame.assign(**unjudged)


_NUMBER = ["table", "arch", "model", "setting", "metric", "mean", "std", "rounds", "note", "number"]


def measured(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows as values of the study's metrics.

    Returns:
        A `DataFrame` of arch, setting (the report's), variant (ours where it is another), round,
        metric, value, collapsed, and limit (how many rounds there can be).
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
    keys: Sequence[str] = ("arch", "setting", "metric"),
) -> pd.DataFrame:
    """Compare reported numbers with the means of our values, by the rule.

    Args:
        numbers: of `numbers_of`.
        values: of `measured`.
        keys: by which a value belongs to a number.

    Returns:
        A `DataFrame` with a row for every number and one more for every variant of it: the
        columns of `numbers`, `variant`, `ours`, `ours_std`, `ours_median`, `ours_rounds`,
        `collapsed`, `margin`, those of `judge` and, of numbers that differ, `resampled_p_value`.
    """
    keys = list(keys)
    groups = values.groupby([*keys, "variant"])
    ours = groups.agg(
        ours=("value", "mean"),
        ours_std=("value", "std"),
        ours_median=("value", "median"),
        ours_rounds=("value", "count"),
        collapsed=("collapsed", "sum"),
        limit=("limit", "max"),
    ).reset_index()
    plain = ours["variant"] == ""
    frame = pd.concat(
        [
            numbers.merge(ours[plain], how="left", on=keys),
            numbers.merge(ours[~plain], how="inner", on=keys),
        ]
    ).sort_values("number", kind="stable", ignore_index=True)
    frame["variant"] = frame["variant"].fillna("")
    frame[["ours_rounds", "collapsed"]] = frame[["ours_rounds", "collapsed"]].fillna(0).astype(int)
    metrics = [METRICS[name] for name in frame["metric"]]
    error = [m.error(value) for m, value in zip(metrics, frame["mean"], strict=True)]
    frame["margin"] = margin_of(error) * [m.unit for m in metrics]
    theirs = frame["mean"], frame["std"], frame["rounds"], frame["margin"]
    judged = judge(frame["ours"], frame["ours_std"], frame["ours_rounds"], *theirs, frame["limit"])
    frame = frame.join(judged).drop(columns="limit").assign(resampled_p_value=np.nan)
    for place, row in frame[frame["verdict"] == DIFFERS].iterrows():
        mine = groups["value"].get_group(tuple(row[[*keys, "variant"]]))
        count = 1 if np.isnan(row["rounds"]) else int(row["rounds"])
        p_value = resampled(mine, count, not np.isnan(row["std"]), row["p_value"])
        frame.loc[place, "resampled_p_value"] = p_value
    return frame


_TOGETHER = 5  # numbers of one metric, from which on their differences are looked at together


def together(frame: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Look at the differences of many settings together, where each alone tells little.

    All settings of a study train on the same pairs in a round, so that its luck is in all of them:
    the interval takes both settings and rounds for clusters (Cameron, Gelbach and Miller, 2011,
    Robust inference with multiway clustering), and its t has the fewer of both less one as
    degrees of freedom.

    Args:
        frame: as `beside` gives it.
        values: of `measured`, from which it was made.

    Returns:
        A `DataFrame` of each metric of which five numbers or more are compared, in rounds that all
        of their settings have, two at least: `settings` and `rounds` (how many), `mean` of our
        values minus the reported ones, its 95 % interval `low` to `high`, and the `median` over
        settings; in the metric's unit.
    """
    compared = frame[(frame["variant"] == "") & frame["difference"].notna()]
    keys, lines = ["arch", "setting"], []
    for metric, rows in compared.groupby("metric", sort=False):
        ours = values[(values["variant"] == "") & (values["metric"] == metric)]
        table = ours.pivot_table(index=keys, columns="round", values="value")
        theirs = rows.set_index(keys)["mean"]
        table = table.reindex(theirs.index).sub(theirs, axis=0).dropna(axis="columns")
        if len(table) < _TOGETHER or table.columns.size < 2:
            continue
        mean, error = _mean_of_table(table.to_numpy())
        low, high = interval(mean, error, min(table.shape) - 1)
        counts = dict(zip(("settings", "rounds"), table.shape, strict=True))
        ends = {"low": low, "high": high, "median": table.mean(axis=1).median()}
        lines.append({"metric": metric, **counts, "mean": mean, **ends})
    return pd.DataFrame(lines)


def _mean_of_table(table: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean and its standard error, with both rows and columns as random effects."""
    away = (table - table.mean()) / table.size
    lines, columns, each = (
        (sums**2).sum() * sums.size / (sums.size - 1)
        for sums in (away.sum(axis=1), away.sum(axis=0), away.ravel())
    )
    return table.mean(), max(lines, columns, lines + columns - each) ** 0.5
