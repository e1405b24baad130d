"""Running a study's trials: on this machine's cores or on several machines, never one twice."""

import math
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kpairs import seeds
from kpairs.data.pairs import PairSet, image_sides
from kpairs.data.source import Source, open_source
from kpairs.data.splits import Split
from kpairs.data.stored import Stored
from kpairs.errors import DivergedError, InputError
from kpairs.files import read_json, write_json
from kpairs.recipes import Recipe, Trial
from kpairs.studies.mistakes import are_kept, errors_of_all_pairs, wrong_pairs
from kpairs.training.device import compute, describe
from kpairs.training.network import completed
from kpairs.training.prepare import draw_round, draw_split
from kpairs.training.records import is_number, is_row, read_history
from kpairs.training.round import Round, train_round
from kpairs.training.workers import log, run_tasks

_PER_EPOCH = {"epoch", "train_loss", "test_loss", "test_comparison_accuracy"}


def run_jobs(
    jobs: Collection[Trial],
    folder: str | Path,
    *,
    processes: int = 1,
    scheduler: str | None = None,
    data_root: str | Path | None = None,
) -> Iterator[Trial]:
    """Run the trials that have no result yet, and yield each as its result is saved.

    A trial's folder is named by a hash of its configuration, and its result is one file that is
    renamed into place, so that a study can be stopped, killed, resumed and extended, and the
    folders of several machines can be copied together. A trial that was under way goes on from its
    last epoch.

    So many processes train side by side, or the workers of a dask scheduler, `tcp://host:port`.
    Raises KpairsError where dask is not installed or does not answer, or a training failed.
    """
    folder = Path(folder).resolve()  # workers may have begun in another folder
    missing = {job.id: job for job in jobs if not (folder / job.id / "result.json").is_file()}
    if not missing:
        return
    draw, shared = _Draw(folder, data_root), scheduler is None
    with compute("auto") as device:  # what this process says of the machine
        machine = describe(device, 1)
    tasks = ((id_, draw(job), shared) for id_, job in missing.items())
    with closing(
        run_tasks(_train_trial, tasks, processes=processes, scheduler=scheduler)
    ) as outcomes:
        for id_, outcome in outcomes:
            save_result(folder, missing[id_], outcome, machine)
            yield missing[id_]


def save_result(
    folder: Path, job: Trial, outcome: Mapping[str, Any], machine: Mapping[str, Any]
) -> None:
    """Write a trial's `result.json`, and drop what only its training needed."""
    path = folder / job.id
    path.mkdir(parents=True, exist_ok=True)
    recipe = job.recipe.model_dump()
    known = {"number": job.number, "folds": job.folds, "recipe": recipe, "machine": machine}
    write_json(path / "result.json", {**known, **outcome})
    for name in ("checkpoint.npz", "model.keras", "history.csv", ".lock"):
        (path / name).unlink(missing_ok=True)


def load_result(folder: str | Path, job: Trial) -> dict[str, Any] | None:
    """Read a finished trial's result; None without one. Its "row" is None where it diverged."""
    file = Path(folder) / job.id / "result.json"
    if not file.exists():
        return None
    try:
        result = read_json(file, "result of a training")
        if not _is_result(result):
            raise InputError(f"{file}: expected the result of a training, received something else")
    except InputError as error:
        raise InputError(f"{error}; delete it to train again") from error
    return result


def _is_result(value: Any) -> bool:
    """Return whether a value of JSON has the form that `save_result` writes."""
    if not (isinstance(value, dict) and _is_machine(value.get("machine")) and "row" in value):
        return False
    if (row := value["row"]) is None:
        return True
    history = value.get("history")
    return (
        is_row(row)
        and set(row) >= {"best_epoch", "collapsed"}
        and "epoch" in row["best_epoch"]
        and isinstance(row.get("engine"), str)
        and all(is_number(row.get(name)) for name in ("epochs", "seconds"))
        and isinstance(history, list)
        and bool(history)
        and all(isinstance(epoch, dict) and set(epoch) >= _PER_EPOCH for epoch in history)
        and all(isinstance(v, float | None) or is_number(v) for e in history for v in e.values())
        and isinstance(value.get("wrong", []), list)
        and all(isinstance(pair, dict) for pair in value.get("wrong", []))
    )


def _is_machine(value: Any) -> bool:
    """Return whether a value of JSON has the fields of `describe` that rows need."""
    if not (isinstance(value, dict) and isinstance(value.get("packages"), dict)):
        return False
    texts = [value.get(name) for name in ("kpairs", "backend", "python", "device_name")]
    texts += [value["packages"].get(name) for name in ("keras", str(value.get("backend")))]
    return is_number(value.get("cores")) and all(isinstance(text, str) for text in texts)


class _Draw:
    """Draws each trial's `Round` when its turn comes, the digits loaded once."""

    def __init__(self, folder: Path, data_root: str | Path | None) -> None:
        self.folder, self.data_root = folder, data_root
        self.sources: dict[str, Source] = {}
        self.splits: dict[tuple[Any, ...], tuple[Split, Split]] = {}

    def _source(self, recipe: Recipe) -> Source:
        how = recipe.data.read_by
        key = repr((recipe.data.source, how))
        if key not in self.sources:
            self.sources[key] = open_source(recipe.data.source, **how, root=self.data_root)
        return self.sources[key]

    def __call__(self, job: Trial) -> Round:
        source = self._source(job.recipe)
        recipe, _ = completed(job.recipe, source)
        of = id(source), recipe.pixels
        if of not in self.splits:
            train, test = (source.split(part, recipe.pixels) for part in ("train", "test"))
            self.splits[of] = train, test
        splits = self.splits[of]
        everything = None
        if job.folds:  # of the first round's training pairs; no test pairs are drawn
            rng = seeds.generator(recipe.fit.seed, 1, "pairs")
            everything = draw_split(recipe, splits[0], recipe.data.pairs, rng)
            train_pairs, test_pairs = fold_of(everything, job, recipe.fit.seed)
        elif job.held_out:
            rng = seeds.generator(recipe.fit.seed, job.number, "pairs")
            drawn = draw_split(recipe, splits[0], recipe.data.pairs + job.held_out, rng)
            parts = slice(recipe.data.pairs), slice(recipe.data.pairs, None)
            train_pairs, test_pairs = map(drawn.take, parts)
        else:
            train_pairs, test_pairs = draw_round(recipe, job.number, *splits)
        return Round(
            recipe=recipe,
            number=job.number,
            folder=self.folder / job.id,
            pairs=(train_pairs, test_pairs),
            classes=len(splits[0].classes),
            test_images=None if job.folds or job.held_out else splits[1],
            normalized_by=everything,
        )


def fold_of(pairs: PairSet, job: Trial, seed: int) -> tuple[PairSet, PairSet]:
    """Take the training and validation pairs of one fold.

    The pairs in a random order, cut into equal folds; fold `job.number` validates. Images of a file
    may be in several pairs: they are divided, and pairs with an image in another fold left out.
    """
    rng = seeds.generator(seed, 1, "folds")
    if isinstance(pairs.left, Stored):
        sides = image_sides(pairs, [1 / job.folds] * job.folds, rng)
        validates = sides == job.number - 1
        return pairs.take(~validates.any(axis=0)), pairs.take(validates.all(axis=0))
    order = rng.permutation(len(pairs))
    folds = np.array_split(order, job.folds)
    rest = np.concatenate([f for k, f in enumerate(folds, 1) if k != job.number])
    return pairs.take(rest), pairs.take(folds[job.number - 1])


def _train_trial(id_: str, job: Round, shared: bool) -> tuple[str, dict[str, Any]]:
    """Train one `Round` in its folder, or in a temporary one where that folder is not shared.

    Returns the id, and a dict of the round's row, of its history per epoch and, for our own
    networks, of the pairs that it gets wrong. The row is None where the loss did not stay finite,
    which a later attempt would only repeat.
    """
    if not shared:
        with tempfile.TemporaryDirectory() as folder:
            return _train_trial(id_, replace(job, folder=Path(folder)), shared=True)
    job.folder.mkdir(parents=True, exist_ok=True)
    try:
        row = train_round(job)
    except DivergedError as error:
        text = f"{job.recipe.network.arch}, round or fold {job.number}: {error}"
        log.warning(text)
        return id_, {"row": None, "said": [text]}
    history = read_history(job.folder / "history.csv")
    known = [{n: None if math.isnan(v) else v for n, v in epoch.items()} for epoch in history]
    result = {"row": row, "history": known}
    if are_kept(job.recipe):
        result["wrong"] = wrong_pairs(job, row["rescaling"])
        row |= errors_of_all_pairs(job, row["rescaling"])
    return id_, result
