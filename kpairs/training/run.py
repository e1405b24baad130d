"""Run folders: everything that one training leaves behind.

```
runs/2026-11-21-auxws/
    recipe.json        the resolved recipe: `kpairs train --recipe` repeats the run from it
    environment.json   versions, backend, device, threads, hardware, time
    data.jsonl         the images of one's own that it was trained and tested on
    data.json          what tells whether the images have changed since
    sample.npz         a few of its pairs, by which it can be exported anywhere
    backbone.keras     a copy of the network whose features are taken, where that was a file
    metrics.json       error rates of every finished round, and their mean and deviation
    curves.png         losses and errors per epoch
    round-01/          history.csv (one row per epoch), model.keras, and checkpoint.npz, the
                       state after the last epoch, from which `kpairs train --resume` goes on;
                       head.npz and reference.txt, where a linear head was solved for
    best.json          the candidates' errors, where `--best` chose among them
    candidates/        run folders of the others
```

Nothing here imports Keras, so that a folder that cannot be made is reported at once.
"""

import shutil
import statistics
from collections.abc import Mapping, Sequence
from datetime import date
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.kept import keep, kept_facts, open_kept
from kpairs.data.listing import fingerprint
from kpairs.data.pairs import PairSet, unpacked
from kpairs.data.source import Source, open_source
from kpairs.errors import InputError, KpairsError, UsageError, first_line, missing
from kpairs.files import atomic_path, read_arrays, write_json, write_text
from kpairs.recipes import FOLDS, Recipe
from kpairs.reports.resolve import read_recipe
from kpairs.training.records import read_environment, read_history, read_metrics

if TYPE_CHECKING:
    import keras

RUNS = Path("runs")
# In a round's folder: the solution of a linear head, and its training images.
HEAD, REFERENCE = "head.npz", "reference.txt"
_SAMPLE = "sample.npz"
_MOST_UNPACKED = 2**30


class Run:
    """One run folder.

    Attributes:
        path: the folder.
        recipe: the resolved recipe.
        metrics: the content of `metrics.json`: `{"rounds": [...], "summary": {...}}`.

    Example:
        >>> import kpairs
        >>> run = kpairs.train("ws", "run", pairs=100, test_pairs=100, epochs=1, verbose=0)
        >>> kpairs.Run.open("run").recipe.fit.epochs
        1
    """

    def __init__(self, path: str | Path, recipe: Recipe, metrics: dict[str, Any]) -> None:
        self.path, self.recipe, self.metrics = Path(path), recipe, metrics

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.recipe.network.arch}, rounds {self.rounds})"

    @classmethod
    def create(
        cls,
        recipe: Recipe,
        environment: Mapping[str, Any],
        source: Source,
        out: str | Path | None = None,
        sample: Mapping[str, NDArray[Any]] | None = None,
    ) -> "Run":
        """Make a new run folder with the recipe, the machine, the list of images and a few pairs.

        Args:
            recipe: the completed recipe.
            environment: JSON-ready dict; see `environment`.
            source: the images, whose list the run keeps.
            out: the folder; default `runs/<date>-<arch>`, with a number where that is taken.
            sample: a few pairs, as `kpairs.data.pairs.packed` gives them; see `sample`.

        Raises:
            KpairsError: `out` exists and is not an empty folder, or cannot be written.
        """
        path = None
        try:
            path = claim(out, recipe.network.arch)
            write_json(path / "environment.json", environment)
            if (copy := _backbone_in(path, recipe)) is not None:
                shutil.copyfile(str(recipe.network.backbone), copy)
            if sample:
                with atomic_path(path / _SAMPLE) as temporary:
                    np.savez_compressed(temporary, allow_pickle=False, **sample)
            keep(source, path)
            write_text(path / "recipe.json", recipe.to_json())  # last: it makes the folder a run
        except BaseException as error:  # also an interrupt: half a run folder is none
            if path is not None:  # it was new, or empty
                shutil.rmtree(path, ignore_errors=True)
            if not isinstance(error, OSError):
                raise
            raise KpairsError(f"{out or RUNS}: cannot make a run folder here: {error}") from error
        return cls(path, recipe, {"rounds": [], "summary": {}})

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Read an existing run folder.

        Raises:
            InputError: not a run folder, or one whose files cannot be read.
        """
        path, file = Path(path), Path(path) / "metrics.json"
        if not path.exists():
            raise missing(path)
        if not (path / "recipe.json").exists():
            raise InputError(
                f"{path}: expected a run folder made by 'kpairs train'; a training that ended "
                "before its first epoch leaves none: give its command again"
            )
        recipe = read_recipe(path / "recipe.json")
        copy = _backbone_in(path, recipe)
        if copy is not None and copy.is_file() and not _are_equal(copy, recipe.network.backbone):
            recipe = recipe.replace(backbone=str(copy.absolute()))
        rounds = read_metrics(file) if file.exists() else []
        return cls(path, recipe, {"rounds": rounds, "summary": summarize(rounds)})

    @classmethod
    def latest(cls, root: str | Path = RUNS) -> "Run":
        """Open the run in `root` that finished a round last.

        Raises:
            InputError: there is none.
        """
        files = [
            f for f in Path(root).glob("*/metrics.json") if f.with_name("recipe.json").exists()
        ]
        files.sort(key=lambda f: f.stat().st_mtime)
        if not files:
            raise InputError(
                f"{root}: no finished run here; expected a run folder, or run 'kpairs train' first"
            )
        return cls.open(files[-1].parent)

    @property
    def rounds(self) -> list[int]:
        """Numbers of the finished rounds."""
        return [row["round"] for row in self.metrics["rounds"]]

    def row(self, number: int) -> dict[str, Any]:
        """Return the metrics of one finished round.

        Raises:
            InputError: that round is not finished.
        """
        for row in self.metrics["rounds"]:
            if row["round"] == number:
                return row
        raise self._no_model(number)

    def folder(self, number: int) -> Path:
        """Return the folder of one round, numbered from 1."""
        return self.path / f"round-{number:02d}"

    def unfinished(self) -> dict[int, Path]:
        """Return the whole path of the folder of each round that is to be trained, by number."""
        numbers = {*range(1, self.recipe.fit.rounds + 1)} - {*self.rounds}
        return {number: self.folder(number).absolute() for number in sorted(numbers)}

    def model_file(self, number: int) -> Path:
        """Return the model file of one finished round.

        Raises:
            InputError: that round is not finished, or its model is gone.
        """
        file = self.folder(number) / "model.keras"
        if number not in self.rounds or not file.is_file():
            raise self._no_model(number)
        return file

    def _no_model(self, number: int) -> InputError:
        done = ", ".join(map(str, self.rounds)) or "none"
        return InputError(f"{self.path}: round {number} has no model; finished rounds: {done}")

    def history(self, number: int) -> list[dict[str, float]]:
        """Read one round's history: a list of dicts, one per epoch, with float values.

        Raises:
            InputError: it cannot be read.
        """
        return read_history(self.folder(number) / "history.csv")

    def sample(self) -> tuple[PairSet, PairSet]:
        """Read the training and the test pairs that the run keeps.

        Raises:
            InputError: it keeps none, or they cannot be read.
        """
        file = self.path / _SAMPLE
        try:
            return unpacked(read_arrays(file, _MOST_UNPACKED))
        except Exception as error:  # zipfile, zlib and NumPy each raise their own kinds
            raise InputError(
                f"{file}: expected a few pairs to check an export on: {first_line(error)}"
            ) from error

    @property
    def environment(self) -> dict[str, Any]:
        """The content of `environment.json`.

        Raises:
            InputError: it cannot be read.
        """
        return read_environment(self.path / "environment.json")

    def source(self, data: str | Path | None = None, root: str | Path | None = None) -> Source:
        """Open the images that the run was trained and tested on, by its own list.

        Args:
            data: where they are now, if they have moved.
            root: the cache folder of fetched and prepared images.

        Raises:
            InputError: images that are gone or are others.
        """
        known = self.recipe.data

        def reopen(place: str | None) -> Source:
            return open_source(place or known.source, **known.read_by, root=root)

        source = open_kept(self.path, reopen, data, classes=known.classes, root=root)
        return source.whole() if self.cross_validated else source

    @property
    def cross_validated(self) -> bool:
        """True if all pairs train, and test errors are those of left-out images."""
        return self.recipe.data.held_out == FOLDS

    @property
    def images_digest(self) -> str | None:
        """The digest of the run's images; None for runs of earlier versions."""
        return kept_facts(self.path).get("digest")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the images have, lowest first; none where nobody graded."""
        facts = kept_facts(self.path)
        if "classes" in facts:
            return tuple(facts["classes"])
        return self.recipe.data.classes or tuple(map(str, range(10)))

    def model(self, number: int = 1) -> "keras.Model":
        """Load the trained Keras model of one round.

        Args:
            number: the round, from 1.

        Raises:
            InputError: that round is not finished, or its model cannot be read.

        Example:
            >>> import kpairs
            >>> run = kpairs.train("ws", "run", pairs=100, test_pairs=100, epochs=1, verbose=0)
            >>> list(run.model(1).output)
            ['comparison']
        """
        from kpairs.training.network import load_round  # with it comes Keras

        return load_round(self, number)

    def extend(self, rounds: int) -> None:
        """Set the number of rounds in all.

        Raises:
            UsageError: fewer than are finished.
        """
        if self.rounds and rounds < max(self.rounds):
            raise UsageError(f"rounds: expected at least {max(self.rounds)}, received {rounds}")
        self.recipe = self.recipe.replace(rounds=rounds)
        write_text(self.path / "recipe.json", self.recipe.to_json())

    def add_round(self, row: Mapping[str, Any]) -> None:
        """Record a finished round's metrics, in the order of rounds, and renew the summary."""
        self.metrics["rounds"] = sorted([*self.metrics["rounds"], row], key=itemgetter("round"))
        self.metrics["summary"] = summarize(self.metrics["rounds"])
        write_json(self.path / "metrics.json", self.metrics)


def summarize(rounds: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return mean and standard deviation (n - 1; None for one round) of each metric over rounds."""
    if not rounds:
        return {}
    parts = ("train", "test", "best_epoch", "all_pairs")
    return {
        part: {
            name: _mean_and_std([row[part][name] for row in rounds])
            for name in rounds[0][part]
            if name != "epoch"
        }
        for part in parts
        if part in rounds[0]
    }


def _mean_and_std(values: Sequence[float]) -> dict[str, float | None]:
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "rounds": len(values),
    }


def _backbone_in(path: Path, recipe: Recipe) -> Path | None:
    """Return the place of a copy of the backbone's file, where the backbone is a file."""
    name = recipe.network.backbone or ""
    return path / f"backbone{Path(name).suffix}" if name.endswith((".keras", ".onnx")) else None


def _are_equal(copy: Path, original: str | None) -> bool:
    place = Path(original or "")
    return place.is_file() and fingerprint(place) == fingerprint(copy)


def check_free(path: str | Path) -> None:
    """Refuse a run folder that holds something.

    Raises:
        KpairsError: `path` exists and is not an empty folder.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise KpairsError(
            f"{path} exists already and is never overwritten; choose another folder (--out) or "
            "remove it; kpairs resume goes on with a run"
        )


def claim(out: str | Path | None, name: str) -> Path:
    """Make the folder `out`, or take it if it is empty; default the next `runs/<date>-<name>`.

    Raises:
        KpairsError: `out` exists and is not an empty folder.
    """
    if out is not None:
        check_free(out)
        Path(out).mkdir(parents=True, exist_ok=True)
        return Path(out)
    base = f"{date.today().isoformat()}-{name}"
    RUNS.mkdir(exist_ok=True)
    number = 1
    while True:
        path = RUNS / (base if number == 1 else f"{base}-{number}")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1
