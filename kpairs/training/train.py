"""Training runs: rounds one after the other or side by side, interrupted and resumed."""

import os
from datetime import UTC, datetime

import keras
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from rich.console import Console

from kpairs.errors import KpairsError, UsageError
from kpairs.networks import ARCHS
from kpairs.plots import draw_curves
from kpairs.training.compile import built, check_architecture
from kpairs.training.device import compute, describe
from kpairs.training.images import load_splits, settled
from kpairs.training.interrupt import Interruption
from kpairs.training.lock import locked
from kpairs.training.progress import LiveProgress, RoundsProgress
from kpairs.training.round import Round, draw_round, train_round, train_round_in_worker
from kpairs.training.run import ENGINES, Run


def train(
    recipe,
    out=None,
    *,
    device="auto",
    threads=1,
    engine="auto",
    jobs=1,
    keep_checkpoints=False,
    given=None,
    data_root=None,
    progress=None,
):
    """Train a recipe's rounds into a new run folder.

    Round r draws its training pairs, test pairs, initial weights, order and dropout from
    (seed, r) and the epoch alone, so rounds can be repeated one by one or side by side, and on a
    CPU with the same number of threads the same recipe gives the same weights bit for bit. Seeds
    Python's, NumPy's and the backend's global generators.

    Args:
        recipe: a `Recipe`.
        out: the run folder; default `runs/<date>-<arch>`.
        device: "auto" (a GPU if there is one), "cpu" or "gpu".
        threads: CPU threads of each process.
        engine: "auto" lowers training steps to a torch graph where that is possible; "keras"
            runs Keras' own.
        jobs: processes that train rounds side by side.
        keep_checkpoints: keep the state after every epoch, not only after the last.
        given: names of the recipe's fields that are chosen, where others may be fitted to images
            of one's own; default all are. See `kpairs.training.images.settled`.
        data_root: cache folder of the digit images.
        progress: a `rich.console.Console` for live progress; None for silence.

    Returns:
        The finished `Run`.

    Raises:
        UsageError, InputError: see `Recipe` and `load_digits`.
        KpairsError: the folder exists or cannot be written, the loss became NaN or infinite, ...
        KeyboardInterrupt: interrupted; its message says what is saved.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine: expected one of {', '.join(ENGINES)}, received {engine!r}")
    check_architecture(recipe)
    recipe = settled(recipe, given)
    recipe = recipe.with_options(**ARCHS[recipe.arch].options | recipe.arch_options)  # in full
    splits = _load(recipe, data_root)
    with compute(device, threads) as device_name:
        built(recipe.arch, len(splits[0].classes), recipe.build_options)
        environment = {
            **describe(device_name, threads),
            "engine": engine,
            "keep_checkpoints": keep_checkpoints,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        run = Run.create(recipe, environment, out)
    with locked(run.path):
        return _train_rounds(run, splits, environment, jobs, progress)


def resume(path, *, rounds=None, jobs=1, data_root=None, progress=None):
    """Go on with a run that was stopped, from the last epoch of each round that has begun.

    Device, threads and engine are the run's. On a CPU the result is that of a run that never
    stopped, bit for bit.

    Args:
        path: the run folder.
        rounds: train this many rounds in all instead of the recipe's.
        jobs, data_root, progress: see `train`.

    Returns:
        The finished `Run`.

    Raises:
        InputError: not a run folder, or missing data.
        UsageError: the run was trained on another backend, or has more rounds already.
        KpairsError: another process trains this run; see also `train`.
        KeyboardInterrupt: interrupted; its message says what is saved.
    """
    run = Run.open(path)
    with locked(run.path):
        run = Run.open(path)  # as the last holder of the lock left it
        environment = run.environment
        backend = keras.backend.backend()
        if environment["backend"] != backend:
            raise UsageError(
                f"{path}: expected the {environment['backend']} backend, on which this run was "
                f"begun, received {backend}; set KERAS_BACKEND={environment['backend']}"
            )
        check_architecture(run.recipe)
        splits = _load(run.recipe, data_root)
        if rounds is not None:
            run.extend(rounds)
        return _train_rounds(run, splits, environment, jobs, progress)


def _load(recipe, data_root):
    """Both splits, after a check that they hold enough images for a round."""
    splits = load_splits(recipe, data_root)
    draw_round(recipe, 1, *splits, augment=False)
    return splits


def _train_rounds(run, splits, environment, jobs, console):
    recipe = run.recipe
    missing = [n for n in range(1, recipe.rounds + 1) if n not in run.rounds]
    todo = (_round(run, n, splits, environment) for n in missing)
    train_all = _one_by_one if jobs == 1 else _side_by_side
    interruption = Interruption()
    try:
        with interruption.noted():
            train_all(run, todo, missing, jobs, interruption, console or Console(quiet=True))
            interruption.check()
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"interrupted; {len(run.rounds)} of {recipe.rounds} rounds are finished, saved in "
            f"{run.path}; go on with: kpairs train --resume {run.path}"
        ) from error
    histories = [run.history(number) for number in run.rounds]
    draw_curves(histories, run.path / "curves.png", recipe.arch)
    return run


def _round(run, number, splits, environment):
    train_pairs, test_pairs = draw_round(run.recipe, number, *splits, augment=False)
    return Round(
        recipe=run.recipe,
        number=number,
        folder=run.folder(number).resolve(),  # a worker may have begun in another folder
        train_pairs=train_pairs,
        test_pairs=test_pairs,
        classes=len(splits[0].classes),
        device="cpu" if environment["device"].startswith("cpu") else "gpu",
        threads=environment["threads"],
        engine=environment["engine"],
        keep_checkpoints=environment["keep_checkpoints"],
    )


def _one_by_one(run, todo, missing, jobs, interruption, console):
    outputs = ARCHS[run.recipe.arch].named(run.recipe.word)
    said = set()

    def say(text):
        if text not in said:
            said.add(text)
            console.print(text)

    for job in todo:
        live = LiveProgress(job.number, run.recipe.rounds, outputs, console)
        try:
            run.add_round(train_round(job, [interruption, live], say))
        finally:
            live.close()
        interruption.check()


def _side_by_side(run, todo, missing, jobs, interruption, console):
    histories = [run.folder(number) / "history.csv" for number in missing]
    said = set()
    workers = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs)
    with RoundsProgress(histories, run.recipe.epochs, console) as view:
        try:
            for row, texts in workers(
                delayed(train_round_in_worker)(job, os.getpid()) for job in todo
            ):
                for text in set(texts) - said:
                    said.add(text)
                    console.print(text)
                run.add_round(row)
                view.finished(row, run.recipe.rounds)
                interruption.check()
        except TerminatedWorkerError as error:
            raise KpairsError(
                f"a worker process ended, perhaps for want of memory; {len(run.rounds)} of "
                f"{run.recipe.rounds} rounds are finished; go on with: "
                f"kpairs train --resume {run.path}"
            ) from error
