"""The files of a run folder, read and checked, whoever made them. Nothing here imports Keras."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from kpairs.data.table import read_table
from kpairs.errors import InputError
from kpairs.files import read_json, write_json

ENGINES = ("auto", "keras")  # how training steps run; here, where the command line may look
BACKENDS = ("torch", "jax", "tensorflow")
MOST_THREADS = 1024
_PARTS = ("train", "test", "best_epoch", "all_pairs", "unshifted")
_MEASURED = {"loss", "comparison_accuracy"}  # in every history, of both splits
_LARGEST = 1e30
CALIBRATION = "calibration.json"  # in a round's folder

Number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False)]
Numbers = dict[str, Number]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class Row(_Strict):
    """The measures of a finished round, as `train_round` returns them."""

    round: int = Field(ge=1, le=10**6)
    train: Numbers
    test: Numbers
    best_epoch: Numbers | None = None
    all_pairs: Numbers = {}
    cross_validated: Numbers = {}
    unshifted: Numbers = {}
    collapsed: bool = False
    rescaling: list[Number] | None = Field(min_length=2, max_length=2)

    @model_validator(mode="after")
    def _errors(self) -> Row:
        for part in (self.train, self.test, self.best_epoch):
            if part is not None and "comparison_error_pct" not in part:
                raise ValueError("expected comparison_error_pct")
            for name, value in (part or {}).items():
                if name.endswith("_pct") and not 0 <= value <= 100:
                    raise ValueError(f"{name}: expected 0 to 100, received {value}")
        return self


class Environment(_Strict):
    """The versions and the machine that a run was begun on, and how it trains."""

    backend: Literal["torch", "jax", "tensorflow"]
    device: str = Field(min_length=1)
    threads: int = Field(ge=1, le=MOST_THREADS)
    engine: Literal["auto", "keras"]
    keep_checkpoints: bool
    tensorboard: bool = False
    packages: dict[str, str] = {}
    instructions: dict[str, str] = {}
    resumed: list[dict[str, Any]] = []
    own_outputs: dict[str, str] = {}


_ROWS = TypeAdapter(list[Row])


def is_row(row: object) -> bool:
    """Tell whether a value of JSON is the row of a finished round, as `train_round` returns it."""
    try:
        Row.model_validate(row)
    except ValidationError:
        return False
    return True


def is_number(value: object) -> bool:
    """Tell whether a value of JSON is a finite number that float32 computes with."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= _LARGEST  # type: ignore[arg-type]  # NaN is not


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of finished rounds in `metrics.json`."""
    values = read_json(path, "metrics")
    rows: Any = values.get("rounds") if isinstance(values, dict) else None
    try:
        _ROWS.validate_python(rows)
    except ValidationError as error:
        raise InputError(
            f"{path}: expected the metrics of finished rounds; {_first(error)}"
        ) from error
    numbers = [row["round"] for row in rows]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{path}: expected each round once, received {numbers}")
    for part in _PARTS:
        if len({frozenset(row.get(part, ())) for row in rows}) > 1:
            raise InputError(f"{path}: expected the same measures of {part} in every round")
    return rows


def read_environment(path: Path) -> dict[str, Any]:
    """Read `environment.json`, what a run was begun on."""
    known = read_json(path, "environment")
    try:
        Environment.model_validate(known)
    except ValidationError as error:
        raise InputError(f"{path}: {_first(error)}") from error
    return known


def _first(error: ValidationError) -> str:
    """Return the first thing that pydantic refuses, in one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "the file"
    if first["type"] == "missing":
        return f"missing {place}"
    text = first["msg"].replace("Input should be", "expected").removeprefix("Value error, ")
    return f"{place}: {text}, received {first['input']!r:.60}"


def read_curve(path: Path) -> list[dict[str, str]]:
    """Read the rows of a `history.csv`, one per epoch, as they are written; all are numbers."""
    table = read_table(path, "epochs")
    header = list(next(table)[1])
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
                f"{path} row {number}: expected numbers, received {','.join(cells)!r:.60}"
            )
        rows.append(dict(zip(header, cells, strict=True)))
        if float(cells[0]) != len(rows):
            raise InputError(f"{path} row {number}: expected epoch {len(rows)}")
    if not rows:
        raise InputError(f"{path}: expected a row per epoch, received none")
    return rows


def read_history(path: Path) -> list[dict[str, float]]:
    """Read a `history.csv` as a list of dicts, one per epoch, with float values."""
    return [{name: float(cell) for name, cell in row.items()} for row in read_curve(path)]


def _is_cell(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isnan(value) or abs(value) <= _LARGEST


def differences(begun: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Say in which respects, on which rounding depends, this machine is not as the run's was.

    Texts such as "instructions of torch AVX2 instead of AVX512". What a run was begun on may say
    less, in files of earlier versions.
    """
    known = [(name, begun.get(name), here[name]) for name in ("device", "device_name")]
    for group, text in (("instructions", "instructions of "), ("packages", "")):
        for name, then in begun.get(group, {}).items():
            if group == "instructions" or name in ("keras", "numpy", begun["backend"]):
                known.append((f"{text}{name}", then, here[group].get(name, "none")))
    return [
        f"{name} {now} instead of {then}" for name, then, now in known if then not in (None, now)
    ]


def save_temperature(folder: Path, temperature: float) -> None:
    """Keep a round's temperature in its folder."""
    write_json(folder / CALIBRATION, {"temperature": temperature})


def read_temperature(folder: Path) -> float | None:
    """Return the temperature of a round; None where nobody evaluated it."""
    file = folder / CALIBRATION
    if not file.is_file():
        return None
    found = read_json(file, "temperature of a round")
    value = found.get("temperature") if isinstance(found, dict) else None
    if not isinstance(value, int | float) or not 1e-3 < value < 1e3:
        raise InputError(
            f"{file}: expected a temperature between 0.001 and 1000, received {value}; remove it, "
            "and run 'kpairs evaluate' again"
        )
    return float(value)
