"""Running a study's jobs: on this machine's cores or on several machines, never one twice."""

import json
import logging
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from kpairs import seeds
from kpairs.data import draw_pairs, load_digits
from kpairs.errors import DivergedError, InputError, KpairsError
from kpairs.files import write_json
from kpairs.ours.mistakes import are_kept, wrong_pairs
from kpairs.training.device import compute, describe
from kpairs.training.round import Round, draw_round, train_round_in_worker
from kpairs.training.run import read_history

log = logging.getLogger(__name__)


def run_jobs(jobs, folder, *, processes=1, scheduler=None, data_root=None):
    """Run the jobs that have no result yet, and yield each job as its result is saved.

    A job's folder is named by a hash of its configuration, and its result is one file that is
    renamed into place, so that a study can be stopped, killed, resumed and extended, and the
    folders of several machines can be copied together. A job that was under way goes on from
    its last epoch.

    Args:
        jobs: `Trial`s.
        folder: where the jobs' folders are.
        processes: how many to train side by side on this machine.
        scheduler: address of a dask scheduler, `tcp://host:port`, whose workers train instead.
        data_root: cache folder of the digit images.

    Raises:
        KpairsError: dask is not installed or does not answer; a training failed.
    """
    folder = Path(folder).resolve()  # workers may have begun in another folder
    missing = {job.id: job for job in jobs if not (folder / job.id / "result.json").is_file()}
    if not missing:
        return
    rounds = _Rounds(folder, data_root, keep=scheduler is None)
    with compute("auto") as device:  # what this process says of the machine
        machine = describe(device, 1)
    said = set()
    for job_id, outcome in _outcomes(missing, rounds, processes, scheduler):
        save_result(folder, missing[job_id], outcome, machine)
        for text in set(outcome["said"]) - said:
            said.add(text)
            log.warning(text)
        yield missing[job_id]


def save_result(folder, job, outcome, machine):
    """Write a job's `result.json`, and drop what only its training needed."""
    path = folder / job.id
    path.mkdir(parents=True, exist_ok=True)
    recipe = asdict(job.recipe)
    known = {"number": job.number, "folds": job.folds, "recipe": recipe, "machine": machine}
    write_json(path / "result.json", {**known, **outcome})
    for name in ("checkpoint.npz", "model.keras", "history.csv", ".lock"):
        (path / name).unlink(missing_ok=True)


def load_result(folder, job):
    """A finished job's result, or None. Its "row" is None where the training diverged.

    Raises:
        InputError: a file that cannot be read.
    """
    file = Path(folder) / job.id / "result.json"
    try:
        result = json.loads(file.read_text())
        if result["row"] is not None:
            result["row"]["test"]["comparison_error_pct"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{file}: expected the result of a training, cannot read it: {error!r}; delete it to "
            "train again"
        ) from error
    return result


class _Rounds:
    """Makes each job's `Round` when its turn comes, the digits loaded once."""

    def __init__(self, folder, data_root, keep):
        self.folder, self.data_root, self.keep, self.splits = folder, data_root, keep, {}

    def __call__(self, job):
        recipe = job.recipe
        if recipe.data not in self.splits:
            self.splits[recipe.data] = [
                load_digits(recipe.data, split, self.data_root) for split in ("train", "test")
            ]
        splits = self.splits[recipe.data]
        everything = None
        if job.folds:  # of the first round's training pairs; no test pairs are drawn
            rng = seeds.generator(recipe.seed, 1, "pairs")
            everything = draw_pairs(splits[0], recipe.pairs, rng)
            train_pairs, test_pairs = fold_of(everything, job, recipe.seed)
        else:
            train_pairs, test_pairs = draw_round(recipe, job.number, *splits, augment=False)
        folder = None
        if self.keep:
            folder = self.folder / job.id
            folder.mkdir(parents=True, exist_ok=True)
        return Round(
            recipe=recipe,
            number=job.number,
            folder=folder,
            train_pairs=train_pairs,
            test_pairs=test_pairs,
            classes=len(splits[0].classes),
            normalized_by=everything,
        )


def fold_of(pairs, job, seed):
    """Training and validation pairs of one fold.

    The pairs in a random order, cut into equal folds; fold `job.number` validates.
    """
    order = seeds.generator(seed, 1, "folds").permutation(len(pairs))
    folds = np.array_split(order, job.folds)
    rest = np.concatenate([f for k, f in enumerate(folds, 1) if k != job.number])
    return pairs.take(rest), pairs.take(folds[job.number - 1])


def _outcomes(jobs, rounds, processes, scheduler):
    """Train jobs anywhere; yields (id, what `train_one` gives) in the order of finishing."""
    if scheduler is None:
        workers = Parallel(
            n_jobs=processes, return_as="generator_unordered", pre_dispatch=processes
        )
        yield from workers(
            delayed(train_one)(id_, rounds(job), os.getpid()) for id_, job in jobs.items()
        )
        return
    try:
        from dask.distributed import Client, as_completed
    except ImportError as error:
        raise KpairsError("--scheduler needs dask: pip install 'kpairs[cluster]'") from error
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise KpairsError(f"no dask scheduler answers at {scheduler}: {error}") from error
    with client:
        futures = [
            client.submit(train_one, id_, rounds(job), pure=False) for id_, job in jobs.items()
        ]
        for future in as_completed(futures):
            yield future.result()


def train_one(job_id, job, parent=None):
    """Train one `Round`, where its folder is or in a temporary one.

    Args:
        job_id, job: which.
        parent: see `train_round_in_worker`.

    Returns:
        The id, and a dict of the round's row, of its history per epoch and, for our own
        architecture, of the pairs that it gets wrong; the row is None where the loss did not stay
        finite, which a later attempt would only repeat.
    """
    if job.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            return train_one(job_id, replace(job, folder=Path(folder)))
    try:
        row, said = train_round_in_worker(job, parent)
    except DivergedError as error:
        said = [f"{job.recipe.arch}, round or fold {job.number}: {error}"]
        return job_id, {"row": None, "said": said}
    history = read_history(job.folder / "history.csv")
    result = {"row": row, "history": history, "said": said}
    if are_kept(job.recipe):
        result["wrong"] = wrong_pairs(job, row["rescaling"])
    return job_id, result
