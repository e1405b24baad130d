"""Rows of studies: from finished trainings to typed CSV files and back."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kpairs.data.table import number as as_number
from kpairs.data.table import read_table
from kpairs.errors import InputError
from kpairs.files import atomic_path
from kpairs.recipes import Study, Trial
from kpairs.studies.run import load_result

log = logging.getLogger(__name__)
_LARGEST = 1e30
_TRIAL = ["arch", "setting", "round"]
# What may stand beside the rows: columns that are never empty, and those that may be.
_KEPT = {
    "curves": (
        [*_TRIAL, "epoch", "test_error_pct", "train_comparison_loss", "test_comparison_loss"],
        ["train_digit_loss", "test_digit_loss"],
    ),
    "wrong": (
        [*_TRIAL, "pair", "left_digit", "right_digit", "left_seen", "right_seen", "probability"],
        ["left", "right"],
    ),
    "authors": ([*_TRIAL, "test_error_pct", "collapsed"], []),
    "same-start": ([*_TRIAL, "test_error_pct", "collapsed"], []),
}
_TEXTS = (
    *("job", "arch", "setting", "activation", "engine", "left", "right"),
    *("kpairs", "backend", "keras", "python", "hardware"),
)
_IMAGE = r"[0-9a-f]{392}"  # of 14x14 bytes
# Of a study's rows, in the order in which they are written.
COLUMNS = (
    *("job", *_TRIAL, "folds", "seed", "epochs"),
    *(f"{what}_error_pct" for what in ("train", "test", "train_digit", "test_digit")),
    *("best_epoch_error_pct", "least_train_error_pct", "best_epoch", "collapsed"),
    *("engine", "seconds", "kpairs", "backend", "keras", "python", "hardware"),
)


def read_rows(
    path: str | Path, columns: Sequence[str] = (), also: Sequence[str] = ()
) -> pd.DataFrame:
    """Read rows from CSV: texts as they are, everything else as numbers, NaN where empty.

    `columns` must be there, and hold a number in every row where they are no texts; those of `also`
    must be there. Raises InputError for a file that cannot be read, lacks a column, or has no
    finite number where there should be one: an error rate is 0 to 100.
    """
    table = read_table(path, "a study's rows")
    header = next(table)[1]
    if missing := [name for name in (*columns, *also) if name not in header]:
        raise InputError(f"{path}: expected a study's rows; it lacks {', '.join(missing)}")
    texts = pd.DataFrame([cells for _, cells in table], columns=header, dtype=str)
    try:
        return pd.DataFrame({name: _typed(texts[name], name in columns) for name in header})
    except ValueError as error:
        raise InputError(f"{path}: expected a study's rows; {error}") from error


def _typed(texts: pd.Series, required: bool) -> pd.Series:
    """Return a column as it is, or as checked numbers."""
    name = texts.name
    if name in _TEXTS:
        return texts
    if not len(texts):
        return texts.astype("int64" if name in ("round", "epoch") else float)
    if texts.str.fullmatch("-?[0-9]{1,15}").all():
        numbers = texts.astype("int64")
    else:
        empty = texts == ""
        numbers = pd.Series([as_number(text) for text in texts], texts.index, float)
        good = numbers.abs() <= _LARGEST
        odd = texts[~(good | (empty & (not required)))]
        if len(odd):
            raise ValueError(f"{name}: expected a finite number, received {odd.iloc[0]!r}")
        if name in ("round", "epoch"):
            raise ValueError(f"{name}: expected whole numbers")
    if name.endswith("_pct") and not numbers.dropna().between(0, 100).all():
        raise ValueError(f"{name}: expected 0 to 100")
    return numbers


def write_rows(path: str | Path, rows: pd.DataFrame) -> None:
    """Write rows as CSV, atomically."""
    with atomic_path(path) as temporary:
        rows.to_csv(temporary, index=False, lineterminator="\r\n", encoding="utf-8")


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as dicts of Python's numbers, as JSON has them; None for a missing number."""
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


def study_rows(folder: str | Path, study: Study) -> pd.DataFrame:
    """Read a study's rows in a folder; none where there is no file.

    Rows of other recipes than the study's are left out, and counted in a warning.
    """
    rows, others = _study_rows(folder, study)
    if others:
        log.warning(
            "%s: %d of %d rows are of no training of %s as it is now; they are ignored",
            *(Path(folder) / f"{study.name}.csv", others, others + len(rows), study.name),
        )
    return rows


def _study_rows(folder: str | Path, study: Study) -> tuple[pd.DataFrame, int]:
    """Return the rows of a study, and the count of others in its file."""
    file = Path(folder) / f"{study.name}.csv"
    known = file.exists()
    rows = read_rows(file, ["job", *_TRIAL, "test_error_pct"]) if known else pd.DataFrame()
    if rows.empty:
        return _no_rows(), 0
    rows = rows.reindex(columns=[*COLUMNS, *rows.columns.difference(COLUMNS, sort=False)])
    settings = {(s.recipe.network.arch, s.setting): s for s in study.settings}

    def is_trial(row: Any) -> bool:
        setting = settings.get((row.arch, row.setting))
        return setting is not None and setting.trial(row.round).id == row.job

    mine = rows.loc[[is_trial(row) for row in rows.itertuples()]]
    return mine.drop_duplicates(_TRIAL, ignore_index=True), len(rows) - len(mine)


def _no_rows() -> pd.DataFrame:
    types = {name: str if name in _TEXTS else float for name in COLUMNS} | {"round": "int64"}
    return pd.DataFrame({name: pd.Series(dtype=type_) for name, type_ in types.items()})


def rows_of(folder: str | Path, study: Study, kind: str) -> pd.DataFrame:
    """Read what stands beside a study's rows.

    The kind is, of the trainings that have a row, "curves" (a row per epoch) or "wrong" (a row per
    wrongly ordered test pair); or "authors", a row per training by the authors' own code on the
    pairs of a round, and "same-start", the same from our first weights in our order.
    """
    file = Path(folder) / f"{study.name}-{kind}.csv"
    if not file.exists():
        return _no_rows()
    rows = read_rows(file, *_KEPT[kind])
    for side in ("left", "right") if kind == "wrong" else ():
        if not rows[side].str.fullmatch(_IMAGE).all():
            raise InputError(f"{file}: {side}: expected 14x14 pixels in hexadecimal")
    if kind in ("authors", "same-start"):
        return rows.reindex(columns=COLUMNS).drop_duplicates(_TRIAL, ignore_index=True)
    return rows.merge(_study_rows(folder, study)[0][_TRIAL], on=_TRIAL)


def collect(study: Study, folder: str | Path, rounds: int | None = None) -> pd.DataFrame:
    """Gather a study's finished trainings, write them as CSV into the folder, and return the rows.

    `<study>.csv` has one row per training, `<study>-curves.csv` one per epoch of the settings whose
    curves are kept; `<study>-wrong.csv` one per wrongly ordered test pair of the first of those.
    Rows that the files hold already stay, so that they can be carried to a folder without the
    trainings.
    """
    folder = Path(folder)
    known = set(_study_rows(folder, study)[0]["job"])
    jobs = study.jobs(rounds)
    new: dict[str, list[pd.DataFrame]] = {"": [], "-curves": [], "-wrong": []}
    for job in jobs:
        result = None if job.id in known else load_result(folder, job)
        if result is not None and result["row"] is not None:
            name = f"{job.recipe.network.arch} {job.setting}".strip()
            new[""].append(pd.DataFrame([job_row(job, result)]))
            if name in study.curves:
                new["-curves"].append(_curve(job, result))
            if name in study.curves[:1]:
                wrong = [_trial(job) | row for row in result.get("wrong", ())]
                new["-wrong"].append(pd.DataFrame(wrong))
    for kind, parts in new.items():
        if parts and len(rows := pd.concat(parts)):
            _add(study, folder / f"{study.name}{kind}.csv", rows)
    rows = study_rows(folder, study)
    return rows[rows["job"].isin([job.id for job in jobs])].reset_index(drop=True)


def _add(study: Study, file: Path, rows: pd.DataFrame) -> None:
    """Write new rows among those of a file; of curves, new ones replace those of a stale round."""
    if file.is_file():
        kept = read_rows(file, _TRIAL)
        if "job" not in kept:
            trials = pd.MultiIndex.from_frame(rows[_TRIAL])
            kept = kept[~pd.MultiIndex.from_frame(kept[_TRIAL]).isin(trials)]
        rows = pd.concat([kept, rows], ignore_index=True) if len(kept) else rows
    order = {setting.name: place for place, setting in enumerate(study.settings)}
    place = name_of(rows).map(order).fillna(len(order))
    keys = ["place", "round", *rows.columns.intersection(["epoch"])]
    write_rows(
        file, rows.assign(place=place).sort_values(keys, kind="stable").drop(columns="place")
    )


def finished(study: Study, folder: str | Path, rounds: int | None = None) -> list[Trial]:
    """Return the jobs of a study that have a result or a row."""
    known = set(_study_rows(folder, study)[0]["job"])
    jobs = study.jobs(rounds)
    return [job for job in jobs if job.id in known or load_result(folder, job) is not None]


def name_of(rows: pd.DataFrame) -> pd.Series:
    """Return the names of rows' settings."""
    return (rows["arch"] + " " + rows["setting"]).str.strip()


def _trial(job: Trial) -> dict[str, Any]:
    return {"arch": job.recipe.network.arch, "setting": job.setting, "round": job.number}


def _curve(job: Trial, result: Mapping[str, Any]) -> pd.DataFrame:
    """Return the losses and the test error of each evaluated epoch, to five digits."""
    epochs = pd.DataFrame(result["history"]).dropna(subset="test_comparison_accuracy")
    error = 100 * (1 - epochs["test_comparison_accuracy"])
    rows = pd.DataFrame({"epoch": epochs["epoch"].astype(int), "test_error_pct": error.round(3)})
    for split in ("train", "test"):
        whole = epochs[f"{split}_loss"]  # the comparison's, where there is no other
        digits = epochs.filter(regex=f"{split}_(left|right)_digit_loss").mean(axis="columns")
        rows[f"{split}_comparison_loss"] = epochs.get(f"{split}_comparison_loss", whole)
        rows[f"{split}_digit_loss"] = digits
    losses = rows.columns[2:]
    rows[losses] = rows[losses].map(lambda value: float(f"{value:.5g}"))
    return pd.DataFrame(_trial(job), rows.index).join(rows)


def job_row(job: Trial, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return one finished training as a row of CSV, by the names of `COLUMNS`."""
    row, machine = result["row"], result["machine"]
    return {
        "job": job.id,
        **_trial(job),
        "folds": job.folds,
        "seed": job.recipe.fit.seed,
        "epochs": row["epochs"],
        "train_error_pct": row["train"]["comparison_error_pct"],
        "test_error_pct": row["test"]["comparison_error_pct"],
        "train_digit_error_pct": row["train"].get(f"{job.recipe.data.word}_error_pct"),
        "test_digit_error_pct": row["test"].get(f"{job.recipe.data.word}_error_pct"),
        "best_epoch_error_pct": row["best_epoch"]["comparison_error_pct"],
        "least_train_error_pct": _least_train_error(result["history"]),
        "best_epoch": row["best_epoch"]["epoch"],
        "collapsed": int(row["collapsed"]),
        "engine": row["engine"],
        "seconds": row["seconds"],
        "kpairs": machine["kpairs"],
        "backend": f"{machine['backend']} {machine['packages'][machine['backend']]}",
        "keras": machine["packages"]["keras"],
        "python": machine["python"],
        "hardware": f"{machine['device_name']}, {machine['cores']} cores",
        **_of_all_pairs(row),
    }


def _least_train_error(history: Sequence[Mapping[str, float]]) -> float | None:
    """Return the least training error of all epochs in which it was evaluated.

    Report 004 gives it beside the best epoch on the test pairs: its training accuracy is the
    maximum of its own curve in all 600 raw outputs, as docs/experiments/altunina_outputs.py counts.
    """
    accuracies = [row.get("evaluated_comparison_accuracy") for row in history]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    return round(100 * (1 - max(known)), 4) if known else None


def _of_all_pairs(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the errors over all ordered pairs, with shifts and without, where measured."""
    return {
        f"{part}_{name}": round(value, 5)
        for part in ("all_pairs", "unshifted")
        for name, value in row.get(part, {}).items()
    }
