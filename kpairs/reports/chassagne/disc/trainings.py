"""The mini framework's trainings as rows: the disc at every learning rate, and digit pairs."""

from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from kpairs.reports.chassagne.disc.digits import train_digits
from kpairs.reports.chassagne.disc.disc import ACTIVATIONS, train_disc
from kpairs.studies.rows import read_rows, write_rows
from kpairs.training.device import compute, describe
from kpairs.training.lock import locked
from kpairs.training.workers import run_tasks

LEARNING_RATES = (0.01, 0.05, 0.1, 0.5)
ROUNDS = 50
# Names of the files of rows, without .csv.
DISC, DRAWS, DIGITS = "mini-disc", "mini-disc-draws", "mini-digits"
CURVES, POINTS, GRID = "mini-disc-curves", "mini-disc-points", "mini-disc-grid"
# What the figures of single trainings show: round 1 at each activation's best reported rate.
SHOWN = {"tanh": 0.1, "relu": 0.05}
_RAN = ("kpairs", "backend", "python", "hardware")
_TRAINED = (*("round", "seed", "epochs", "train_error_pct", "test_error_pct", "seconds"), *_RAN)
_SETTING = ("activation", "learning_rate")
_DISC = (*_SETTING, *_TRAINED, "train_loss", "dead_outputs")
# Of each file: columns that are never empty, and those that may be.
_COLUMNS = {
    DISC: (_DISC, ("test_inside_pct",)),
    DRAWS: ((*_DISC, "points"), ("test_inside_pct",)),
    DIGITS: (_TRAINED, ()),
    CURVES: ((*_SETTING, "round", "epoch", "train_error_pct", "test_error_pct"), ("train_loss",)),
    POINTS: (("x", "y", "inside", *SHOWN), ()),
    GRID: (("x", "y", *SHOWN), ()),
}
_GRID_SIDE = 41

Setting = dict[str, Any]  # the beginning of a row: what is trained
Row = dict[str, Any]  # of CSV: a setting and what came of it


def disc_settings(rounds: int = ROUNDS) -> list[Setting]:
    """List the trainings of the disc study: round 1 of all settings, then round 2, ..."""
    return [
        {"activation": activation, "learning_rate": rate, "round": number, "seed": 0, "epochs": 100}
        for number in range(1, rounds + 1)
        for activation in ACTIVATIONS
        for rate in LEARNING_RATES
    ]


def draw_settings() -> list[Setting]:
    """List trainings with tanh that share their points: several on each draw."""
    return [
        {**s, "points": points}
        for points in range(1, 11)
        for s in disc_settings(5)
        if s["activation"] == "tanh"
    ]


def digit_settings(rounds: int = 1, epochs: int = 40) -> list[Setting]:
    """Return the trainings of `simple` on digit pairs."""
    return [{"round": n, "seed": 0, "epochs": epochs} for n in range(1, rounds + 1)]


def disc_row(setting: Setting) -> Row:
    """Train on the disc once, and return what the row of a setting says.

    Errors in percent (training: counted during the last epoch; test: after it), the loss of the
    last epoch, the share of test points called inside, and how many of the two outputs are dead:
    the same for every test point.
    """
    run = train_disc(
        setting["activation"],
        setting["learning_rate"],
        setting["round"],
        setting["seed"],
        setting["epochs"],
        points=setting.get("points"),
    )
    last, outputs = run.history[-1], run.outputs(run.points)
    return {
        "train_error_pct": round(last["train_error_pct"], 3),
        "test_error_pct": round(last["test_error_pct"], 3),
        "train_loss": float(f"{last['train_loss']:.5g}"),
        "test_inside_pct": round(100 * run.predictions().double().mean().item(), 3),
        "dead_outputs": int((outputs == outputs[0]).all(0).sum()),
        "seconds": round(run.seconds, 2),
    }


def digit_row(setting: Setting, data_root: str | Path | None = None) -> Row:
    """Train `simple` on digit pairs once: errors in percent, and seconds."""
    last = train_digits(setting["round"], setting["seed"], setting["epochs"], data_root)[-1]
    names = ("train_error_pct", "test_error_pct", "seconds")
    return {name: round(last[name], 3) for name in names}


def train_missing(
    train: Callable[[Setting], Row],
    settings: list[Setting],
    folder: str | Path,
    name: str,
    processes: int = 1,
) -> Iterator[Row]:
    """Train each setting that a file has no row of, and yield each row once it is saved.

    The file is written anew after every training, so that a study can be stopped, killed and
    extended. A setting is the beginning of its row, which `train` gives the rest of. Another
    process that writes into this folder is refused.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        rows = rows_of(folder, name)
        keys = list(settings[0])
        known = finished(settings, folder, name).reindex(columns=keys)
        known = set(known.itertuples(index=False, name=None))
        missing = [setting for setting in settings if tuple(setting.values()) not in known]
        machine = _machine() if missing else {}
        tasks = ((train, setting) for setting in missing)
        with closing(run_tasks(_train_alone, tasks, processes=processes)) as trained:
            for row in trained:
                row |= machine
                rows = pd.concat([rows, pd.DataFrame([row])]) if len(rows) else pd.DataFrame([row])
                rows = rows.sort_values(keys)
                write_rows(folder / f"{name}.csv", rows)
                yield row


def rows_of(folder: str | Path, name: str) -> pd.DataFrame:
    """Return the rows of a file; none where there is no file."""
    file = Path(folder) / f"{name}.csv"
    return read_rows(file, *_COLUMNS[name]) if file.exists() else pd.DataFrame()


def finished(settings: list[Setting], folder: str | Path, name: str) -> pd.DataFrame:
    """Return the rows of the settings that have one."""
    rows, wanted = rows_of(folder, name), pd.DataFrame(settings)
    return rows.merge(wanted, on=list(wanted)) if len(rows) else rows


def _train_alone(train: Callable[[Setting], Row], setting: Setting) -> Row:
    with compute("cpu"):  # one thread
        return {**setting, **train(setting)}


def _machine() -> dict[str, str]:
    with compute("cpu") as device:
        known = describe(device, 1)
    return {
        "kpairs": known["kpairs"],
        "backend": f"torch {version('torch')}",
        "python": known["python"],
        "hardware": f"{known['device_name']}, {known['cores']} cores",
    }


def write_shown(folder: str | Path) -> None:
    """Write what the figures of single trainings show, where it is not written yet.

    Of the runs of `SHOWN`: their history per epoch, the test points with the predicted classes, and
    how much "inside" exceeds "outside" over the square.
    """
    files = {name: Path(folder) / f"{name}.csv" for name in (CURVES, POINTS, GRID)}
    if all(file.is_file() for file in files.values()):
        return
    with compute("cpu"):
        runs = {a: train_disc(a, rate) for a, rate in SHOWN.items()}
    curves = pd.concat(
        pd.DataFrame(run.history).assign(activation=activation, learning_rate=SHOWN[activation])
        for activation, run in runs.items()
    ).assign(round=1)
    for name in curves.columns.difference(["activation", "epoch", "round"]):
        curves[name] = [float(f"{value:.5g}") for value in curves[name]]
    first = ["activation", "learning_rate", "round"]
    shared = runs["tanh"]  # all runs of one round have the same points
    grids = {activation: run.margins(_GRID_SIDE) for activation, run in runs.items()}
    x, y, _ = grids["tanh"]
    predicted = {activation: run.predictions() for activation, run in runs.items()}
    points = {"x": shared.points[:, 0], "y": shared.points[:, 1], "inside": shared.classes}
    grid = {"x": x, "y": y, **{a: margins for a, (_, _, margins) in grids.items()}}
    write_rows(files[CURVES], curves[[*first, *curves.columns.difference(first, sort=False)]])
    for name, columns in ((POINTS, points | predicted), (GRID, grid)):
        numbers = {key: column.flatten().tolist() for key, column in columns.items()}
        write_rows(files[name], pd.DataFrame(numbers).round(4))
