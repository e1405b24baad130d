"""What studies found, as rows, and as reports' numbers."""

import csv
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from kpairs.errors import InputError
from kpairs.files import write_rows
from kpairs.reports.reported import reported
from kpairs.studies.run import load_result

# How a finished training gives what a report states.
_METRICS = {
    "test_error_pct": lambda row: row["test_error_pct"],
    "test_accuracy_pct": lambda row: 100 - row["test_error_pct"],
    "train_accuracy_pct": lambda row: 100 - row["train_error_pct"],
    "validation_accuracy": lambda row: 1 - row["test_error_pct"] / 100,
    "final_epoch_val_accuracy_pct": lambda row: 100 - row["test_error_pct"],
    "best_epoch_val_accuracy_pct": lambda row: 100 - row["best_epoch_error_pct"],
    "best_epoch_train_accuracy_pct": lambda row: 100 - row["best_epoch_train_error_pct"],
}
_TEXTS = (
    *("job", "arch", "setting", "activation", "engine", "left", "right"),
    *("kpairs", "backend", "keras", "python", "hardware"),
)


def collect(study, folder, rounds=None):
    """Gather a study's finished trainings and write them as CSV into the folder.

    `<study>.csv` has one row per training, `<study>-curves.csv` one per epoch of the settings
    whose curves are kept; `<study>-wrong.csv` one per wrongly ordered test pair of the first of
    those settings, where the results name them. Rows that the files hold already stay, so that
    they can be carried to a folder without the trainings.

    Args:
        study: the `Study`.
        folder: of the trainings' results.
        rounds: as in `Study.jobs`.

    Returns:
        The rows, in the order of settings and rounds; at most those of the rounds asked for.
    """
    folder = Path(folder)
    files = [folder / f"{study.name}{part}.csv" for part in ("", "-curves", "-wrong")]
    rows, curves, wrong = (read_csv(f) if f.is_file() else [] for f in files)
    known = {row["job"] for row in rows}
    jobs = study.jobs(rounds)
    for job in jobs:
        result = None if job.id in known else load_result(folder, job)
        if result is not None and result["row"] is not None:
            rows.append(job_row(job, result))
            if f"{job.recipe.arch} {job.setting}".strip() in study.curves:
                curves += _curve(job, result)
            if name_of(rows[-1]) in study.curves[:1]:
                wrong += _wrong(job, result)
    order = {setting.name: i for i, setting in enumerate(study.settings)}
    for kept, file in zip((rows, curves, wrong), files, strict=True):
        kept.sort(key=lambda r: (order[name_of(r)], r["round"], r.get("epoch", 0)))
        if kept:
            write_rows(file, kept)
    wanted = {job.id for job in jobs}
    return [row for row in rows if row["job"] in wanted]


def finished(study, folder, rounds=None):
    """The jobs of a study that have a result or a row."""
    file = Path(folder) / f"{study.name}.csv"
    known = {row["job"] for row in read_csv(file)} if file.is_file() else set()
    jobs = study.jobs(rounds)
    return [job for job in jobs if job.id in known or load_result(folder, job) is not None]


def name_of(row):
    """The name of a row's setting."""
    return f"{row['arch']} {row['setting']}".strip()


def _curve(job, result):
    """The losses and the test error of each epoch, to five digits."""
    return [
        {
            "arch": job.recipe.arch,
            "setting": job.setting,
            "round": job.number,
            "epoch": int(epoch["epoch"]),
            "test_error_pct": round(100 * (1 - epoch["test_comparison_accuracy"]), 3),
            **{
                f"{split}_{name}": float(f"{value:.5g}")
                for split in ("train", "test")
                for name, value in _losses(epoch, split).items()
            },
        }
        for epoch in result["history"]
        if not math.isnan(epoch["test_comparison_accuracy"])
    ]


def _wrong(job, result):
    known = {"arch": job.recipe.arch, "setting": job.setting, "round": job.number}
    return [known | row for row in result.get("wrong", ())]


def _losses(epoch, split):
    """Comparison loss, and the mean of both digit losses where there are some."""
    if f"{split}_comparison_loss" not in epoch:
        return {"comparison_loss": epoch[f"{split}_loss"], "digit_loss": math.nan}
    digits = [epoch[f"{split}_{side}_digit_loss"] for side in ("left", "right")]
    return {
        "comparison_loss": epoch[f"{split}_comparison_loss"],
        "digit_loss": statistics.fmean(digits),
    }


def job_row(job, result):
    """One finished training as a row of CSV."""
    row, machine = result["row"], result["machine"]
    return {
        "job": job.id,
        "arch": job.recipe.arch,
        "setting": job.setting,
        "round": job.number,
        "folds": job.folds,
        "seed": job.recipe.seed,
        "epochs": row["epochs"],
        "train_error_pct": row["train"]["comparison_error_pct"],
        "test_error_pct": row["test"]["comparison_error_pct"],
        "train_digit_error_pct": row["train"].get("digit_error_pct"),
        "test_digit_error_pct": row["test"].get("digit_error_pct"),
        "best_epoch_error_pct": row["best_epoch"]["comparison_error_pct"],
        "best_epoch_train_error_pct": row["best_epoch"].get("train_comparison_error_pct"),
        "best_epoch": row["best_epoch"]["epoch"],
        "collapsed": int(row["collapsed"]),
        "engine": row["engine"],
        "seconds": row["seconds"],
        "kpairs": machine["kpairs"],
        "backend": f"{machine['backend']} {machine['packages'][machine['backend']]}",
        "keras": machine["packages"]["keras"],
        "python": machine["python"],
        "hardware": f"{machine['device_name']}, {machine['cores']} cores",
    }


def read_csv(path):
    """Rows of a study's CSV, numbers as numbers, empty cells as None.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [{k: _value(k, v) for k, v in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a study's rows; {error}") from error


def _value(name, text):
    if name in _TEXTS or text == "":
        return text if name in _TEXTS else None
    return int(text) if text.lstrip("-").isdigit() else float(text)


@dataclass(frozen=True)
class Comparison:
    """A reported number beside ours.

    Attributes:
        reported: the `Reported`.
        values: our rounds' values of the same metric; empty if it was not run.
        low, high: 95 % interval of our mean minus the reported one (Welch's t, from means,
            deviations and counts); None where either side gives no deviation.
        verdict: "agrees" where the interval holds 0 and "differs" where it does not; "no
            interval" where one side has a single number, and "not run".
    """

    reported: object
    values: tuple
    low: float | None
    high: float | None
    verdict: str

    @property
    def mean(self):
        return statistics.fmean(self.values)

    @property
    def std(self):
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def compare(study, rows):
    """Each reported number of a study beside the rows that stand for it."""
    comparisons = []
    numbers = reported(study.report) if study.tables else []
    for number in numbers:
        if number.table not in study.tables or number.metric not in study.metrics:
            continue
        value = _METRICS[number.metric]
        mine = [r for r in rows if (r["arch"], r["setting"]) == (number.arch, number.setting)]
        values = tuple(value(row) for row in mine)
        comparisons.append(compared(number, values))
    return comparisons


def compared(number, values):
    """One reported number beside our values of its metric: a `Comparison`."""
    if not values:
        return Comparison(number, values, None, None, "not run")
    if number.std is None or not number.rounds or number.rounds < 2 or len(values) < 2:
        return Comparison(number, values, None, None, "no interval")
    low, high = difference_interval(
        statistics.fmean(values),
        statistics.stdev(values),
        len(values),
        number.mean,
        number.std,
        number.rounds,
    )
    return Comparison(number, values, low, high, "agrees" if low <= 0 <= high else "differs")


def difference_interval(mean, std, count, other_mean, other_std, other_count, level=0.95):
    """Confidence interval of a difference of means by Welch's t (unequal variances).

    Args:
        mean, std, count: of one sample; std with n - 1.
        other_mean, other_std, other_count: of the other.
        level: the confidence.

    Returns:
        `(low, high)` of mean - other_mean.
    """
    a, b = std**2 / count, other_std**2 / other_count
    difference = mean - other_mean
    if a + b == 0:
        return difference, difference
    freedom = (a + b) ** 2 / (a**2 / (count - 1) + b**2 / (other_count - 1))
    half = stats.t.ppf((1 + level) / 2, freedom) * math.sqrt(a + b)
    return difference - half, difference + half
