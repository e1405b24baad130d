"""What the files of a run folder hold, read and checked: whoever made them.

Nothing here imports Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kpairs.data.table import number as as_number
from kpairs.data.table import read_table
from kpairs.errors import InputError
from kpairs.files import read_json

ENGINES = ("auto", "keras")  # how training steps run; here, where the command line may look
BACKENDS = ("torch", "jax", "tensorflow")
MOST_THREADS = 1024
_SPLITS = ("train", "test")
_MORE = ("all_pairs", "unshifted")  # errors of other pairs, where they were measured
_MEASURED = {"loss", "comparison_accuracy"}  # in every history, of both splits
_LARGEST = 1e30
_MOST_ROUNDS = 10**6


def is_number(value: object) -> bool:
    """Whether a value of JSON is a finite number that float32 computes with."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= _LARGEST  # type: ignore[arg-type]  # NaN is not


def are_errors(value: object) -> bool:
    """Whether a value of JSON is the error rates of a split, in percent by name."""
    return (
        isinstance(value, dict)
        and "comparison_error_pct" in value
        and all(is_number(v) for v in value.values())
        and all(0 <= v <= 100 for name, v in value.items() if name.endswith("_pct"))
    )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of finished rounds in `metrics.json`; what it says of all is made from them.

    Raises:
        InputError: it cannot be read, or holds anything else.
    """
    values = read_json(path, "metrics")
    rows = values.get("rounds") if isinstance(values, dict) else None
    if not (isinstance(rows, list) and all(is_row(row) for row in rows)):
        raise InputError(f"{path}: expected the metrics of finished rounds, received others")
    numbers = [row["round"] for row in rows]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{path}: expected each round once, received {numbers}")
    for part in (*_SPLITS, "best_epoch", *_MORE):
        if len({frozenset(row.get(part, ())) for row in rows}) > 1:
            raise InputError(f"{path}: expected the same measures of {part} in every round")
    return rows


def is_row(row: object) -> bool:
    """Whether a value of JSON is the row of a finished round, as `train_round` gives it."""
    return (
        isinstance(row, dict)
        and _is_whole(row.get("round"), 1, _MOST_ROUNDS)
        and all(are_errors(row.get(split)) for split in _SPLITS)
        and ("best_epoch" not in row or are_errors(row["best_epoch"]))
        and all(_are_numbers(row.get(part, {})) for part in _MORE)
        and isinstance(row.get("collapsed", False), bool)
        and "rescaling" in row
        and _is_rescaling(row["rescaling"])
    )


def _are_numbers(value: object) -> bool:
    return isinstance(value, dict) and all(map(is_number, value.values()))


def _is_rescaling(value: object) -> bool:
    return value is None or (
        isinstance(value, list) and len(value) == 2 and all(map(is_number, value))
    )


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def read_environment(path: Path) -> dict[str, Any]:
    """Read what a run was begun on, `environment.json`.

    Raises:
        InputError: it cannot be read, or says something that kpairs never writes.
    """
    known = read_json(path, "environment")
    if not isinstance(known, dict):
        raise InputError(f"{path}: expected what the run was begun on, received {known!r:.40}")
    rules = {
        "backend": (" or ".join(BACKENDS), lambda v: v in BACKENDS),
        "device": ("a device's name", lambda v: isinstance(v, str) and bool(v)),
        "threads": (f"1 to {MOST_THREADS}", lambda v: _is_whole(v, 1, MOST_THREADS)),
        "engine": (" or ".join(ENGINES), lambda v: v in ENGINES),
        "keep_checkpoints": ("true or false", lambda v: isinstance(v, bool)),
    }
    later = {
        "tensorboard": ("true or false", lambda v: isinstance(v, bool)),
        "import": ("a module's name", lambda v: isinstance(v, str)),
        "packages": ("versions by name", _are_texts),
        "instructions": ("instruction sets by name", _are_texts),
        "resumed": ("a list of machines", lambda v: isinstance(v, list)),
    }
    if missing := [name for name in rules if name not in known]:
        raise InputError(
            f"{path}: expected what the run was begun on; missing {', '.join(missing)}"
        )
    for name, (wanted, fits) in (rules | later).items():
        if name in known and not fits(known[name]):
            raise InputError(f"{path}: {name}: expected {wanted}, received {known[name]!r:.60}")
    return known


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def read_curve(path: Path) -> list[dict[str, str]]:
    """Read the rows of a `history.csv`, one per epoch, as they are written; all are numbers.

    Raises:
        InputError: it cannot be read, or a row is no epoch's: of other length, not in order, with
            a cell that is neither a finite number nor nan.
    """
    table = read_table(path, "epochs")
    header = next(table)[1]
    trained = {name.removeprefix("train_") for name in header if name.startswith("train_")}
    there = set(header) >= {f"test_{name}" for name in trained}
    if header[:1] != ["epoch"] or not there or not trained >= _MEASURED:
        raise InputError(
            f"{path}: expected the columns epoch, train_loss, test_loss and so on; received "
            f"{','.join(header)!r:.60}"
        )
    rows: list[dict[str, str]] = []
    for number, cells in table:
        if not all(map(_is_cell, cells)):
            raise InputError(
                f"{path} row {number}: expected {len(header)} numbers, received "
                f"{','.join(cells)!r:.60}"
            )
        rows.append(dict(zip(header, cells, strict=True)))
        if float(cells[0]) != len(rows):
            raise InputError(f"{path} row {number}: expected epoch {len(rows)}")
    if not rows:
        raise InputError(f"{path}: expected a row per epoch, received none")
    return rows


def read_history(path: Path) -> list[dict[str, float]]:
    """Read a `history.csv` as a list of dicts, one per epoch, with float values.

    Raises:
        InputError: see `read_curve`.
    """
    return [{name: float(cell) for name, cell in row.items()} for row in read_curve(path)]


def _is_cell(text: str) -> bool:
    value = as_number(text)
    return text == "nan" or (value is not None and abs(value) <= _LARGEST)


def differences(begun: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Say what of this machine, on which rounding depends, is not as the run's was.

    Args:
        begun: `environment.json`; that of an earlier version may say less.
        here: as `kpairs.training.device.describe` gives it.

    Returns:
        Texts such as "instructions of torch AVX2 instead of AVX512"; none where it is of the same
        kind.
    """
    known = [(name, begun.get(name), here[name]) for name in ("device", "device_name")]
    for group, text in (("instructions", "instructions of "), ("packages", "")):
        for name, then in begun.get(group, {}).items():
            if group == "instructions" or name in ("keras", "numpy", begun["backend"]):
                known.append((f"{text}{name}", then, here[group].get(name, "none")))
    return [
        f"{name} {now} instead of {then}" for name, then, now in known if then not in (None, now)
    ]
