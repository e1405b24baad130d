"""Training runs: rounds one after the other or side by side, interrupted and resumed."""

import errno
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from kpairs.bars import preparing, reading
from kpairs.data.pairs import check_enough
from kpairs.data.splits import Split
from kpairs.errors import InputError, KpairsError, UsageError, WorkerError
from kpairs.files import write_json
from kpairs.networks import ARCHS, import_of
from kpairs.plots import draw_curves
from kpairs.recipes import Recipe
from kpairs.reports.resolve import recipe_of
from kpairs.training.compile import built, check_architecture, check_run
from kpairs.training.device import compute, describe
from kpairs.training.draw import draw_round
from kpairs.training.images import load_splits, settled
from kpairs.training.interrupt import Interruption
from kpairs.training.lock import locked
from kpairs.training.progress import LiveProgress, TrainingsProgress, share_done
from kpairs.training.records import ENGINES, differences
from kpairs.training.round import Round, train_round
from kpairs.training.run import Run
from kpairs.training.workers import log, run_tasks


def train(
    recipe: Recipe | str,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    threads: int = 1,
    engine: str = "auto",
    jobs: int = 1,
    keep_checkpoints: bool = False,
    tensorboard: bool = False,
    data: str | Path | None = None,
    given: Collection[str] | None = None,
    data_root: str | Path | None = None,
    progress: Console | None = None,
) -> Run:
    """Train a recipe's rounds into a new run folder.

    Round r draws its training pairs, test pairs, initial weights, order and dropout from
    (seed, r) and the epoch alone, so rounds can be repeated one by one or side by side, and on a
    CPU with the same number of threads the same recipe gives the same weights bit for bit. Seeds
    Python's, NumPy's and the backend's global generators. Logs a warning where the network of a
    round ended by giving every pair the same answer.

    Args:
        recipe: what to train; the name of an architecture stands for its recipe.
        out: the run folder; default `runs/<date>-<arch>`.
        device: "auto" (a GPU if there is one), "cpu" or "gpu".
        threads: CPU threads of each process.
        engine: "auto" lowers training steps to a torch graph where that is possible; "keras"
            runs Keras' own.
        jobs: processes that train rounds side by side.
        keep_checkpoints: keep the state after every epoch, not only after the last.
        tensorboard: write TensorBoard's event files into each round's folder.
        data: another source than the recipe's, as `kpairs.data.load_digits` takes it; what the
            recipe says that depends on images (such as how many pairs) is then fitted to these.
        given: names of the recipe's fields that are chosen, where others may be fitted to images
            of one's own; default all are, with `data` only that. See
            `kpairs.training.images.settled`.
        data_root: cache folder of the digit images.
        progress: where to show live progress; None for silence.

    Returns:
        The finished `Run`.

    Raises:
        UsageError: a recipe that does not fit its architecture, or an unknown engine or device.
        InputError: images that are missing, unreadable or too few.
        KpairsError: the folder exists or cannot be written, the loss became NaN or infinite, ...
        KeyboardInterrupt: interrupted; its message says what is saved.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine: expected one of {', '.join(ENGINES)}, received {engine!r}")
    if isinstance(recipe, str):
        recipe = recipe_of(recipe)
    if data is not None:
        recipe, given = recipe.replace(data=str(data), classes=None, ink=None), given or {"data"}
    check_architecture(recipe)
    console = progress or Console(quiet=True)
    with reading(console) as read:
        recipe = settled(recipe, given, read)
    recipe = recipe.with_options(**{**ARCHS[recipe.network.arch].options, **recipe.network.options})  # in full
    with compute(device, threads) as device_name:
        # What its layers refuse is refused before images are prepared, and there is a folder.
        if recipe.data.classes is not None:
            built(recipe.network.arch, len(recipe.data.classes), recipe.build_options)
        splits = _load(recipe, data_root, console)
        if recipe.data.classes is None or len(recipe.data.classes) != len(splits[0].classes):
            built(recipe.network.arch, len(splits[0].classes), recipe.build_options)
        environment = {
            **describe(device_name, threads),
            "engine": engine,
            "keep_checkpoints": keep_checkpoints,
            "tensorboard": tensorboard,
            **({"import": origin} if (origin := import_of(recipe.network.arch)) else {}),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        run = Run.create(recipe, environment, out)
    with locked(run.path):
        return _train_rounds(run, splits, environment, jobs, console)


def resume(
    path: str | Path,
    *,
    rounds: int | None = None,
    jobs: int = 1,
    data_root: str | Path | None = None,
    progress: Console | None = None,
) -> Run:
    """Go on with a run that was stopped, from the last epoch of each round that has begun.

    Device, threads and engine are the run's. On a CPU of the same kind, with the same versions, the
    result is that of a run that never stopped, bit for bit; on another this logs a warning, and
    `environment.json` keeps what it was, under `resumed`.

    Args:
        path: the run folder.
        rounds: train this many rounds in all instead of the recipe's.
        jobs: see `train`.
        data_root: see `train`.
        progress: see `train`.

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
        check_run(run)
        console = progress or Console(quiet=True)
        splits = _load(run.recipe, data_root, console)
        if rounds is not None:
            run.extend(rounds)
        if len(run.rounds) < run.recipe.fit.rounds:
            environment = _resumed(run, environment)
        return _train_rounds(run, splits, environment, jobs, console)


def _resumed(run: Run, environment: dict[str, Any]) -> dict[str, Any]:
    """What a run was begun on and, where this machine is another, goes on on; says so."""
    device = _device_of(environment)
    with compute(device, environment["threads"]) as name:
        here = describe(name, environment["threads"])
    if others := differences(environment, here):
        log.warning(
            "%s: rounding differs here from where this run was begun (%s): it may end elsewhere "
            "than a run that was never stopped",
            *(run.path, ", ".join(others)),
        )
        since = datetime.now(UTC).isoformat(timespec="seconds")
        environment = {
            **environment,
            "resumed": [*environment.get("resumed", ()), {**here, "since": since}],
        }
        write_json(run.path / "environment.json", environment)
    return environment


def _load(recipe: Recipe, data_root: str | Path | None, console: Console) -> list[Split]:
    """Both splits, after a check that they hold enough images for a round."""
    with preparing(console) as prepared:
        splits = load_splits(recipe, data_root, prepared)
    for digits, count in zip(splits, (recipe.data.pairs, recipe.data.test_pairs), strict=True):
        check_enough(digits, count)
    return splits


def _train_rounds(
    run: Run,
    splits: list[Split],
    environment: Mapping[str, Any],
    jobs: int,
    console: Console,
) -> Run:
    recipe, interruption = run.recipe, Interruption()
    missing = [n for n in range(1, recipe.fit.rounds + 1) if n not in run.rounds]
    rounds = (_round(run, number, splits, environment) for number in missing)
    if jobs == 1:
        rows = _one_by_one(recipe, rounds, interruption, console)
    else:
        histories = [run.folder(number) / "history.csv" for number in missing]
        rows = _side_by_side(recipe, rounds, histories, jobs, console)
    try:
        with interruption.noted(), closing(rows):
            for row in rows:
                run.add_round(row)
                interruption.check()
            interruption.check()
    except (KeyboardInterrupt, WorkerError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:  # of the terminal's pipe
            raise
        run = Run.open(run.path)  # the signal may have come while a round was being added
        reason = str(error) or "interrupted"
        raise (KpairsError if isinstance(error, OSError) else type(error))(
            f"{reason}; {len(run.rounds)} of {recipe.fit.rounds} rounds are finished, "
            f"saved in {run.path}; go on with: kpairs train --resume {run.path}"
        ) from error
    if curves := _curves(run):
        draw_curves(curves, run.path / "curves.png", recipe.network.arch)
    _warn_of_collapse(run)
    return run


def _curves(run: Run) -> list[list[dict[str, float]]]:
    """The curves of the finished rounds; one that is damaged is left out, with a word."""
    found: list[list[dict[str, float]]] = []
    for number in run.rounds:
        try:
            history = run.history(number)
            if found and set(history[0]) != set(found[0][0]):
                raise InputError(f"{run.folder(number)}: expected the other rounds' columns")
            found.append(history)
        except InputError as error:
            log.warning("%s; curves.png is drawn without this round", error)
    return found


def _device_of(environment: Mapping[str, Any]) -> str:
    """The device that a run's rounds train on; a first GPU is whatever the backend calls so."""
    name = environment["device"]
    if name.startswith("cpu"):
        return "cpu"
    return "gpu" if name == "cuda:0" or not name.startswith("cuda") else name


def _round(run: Run, number: int, splits: list[Split], environment: Mapping[str, Any]) -> Round:
    train_pairs, test_pairs = draw_round(run.recipe, number, *splits, augment=False)
    return Round(
        recipe=run.recipe,
        number=number,
        # A worker may have begun in another folder.
        folder=run.path.resolve() / run.folder(number).name,
        train_pairs=train_pairs,
        test_pairs=test_pairs,
        classes=len(splits[0].classes),
        device=_device_of(environment),
        threads=environment["threads"],
        engine=environment["engine"],
        keep_checkpoints=environment["keep_checkpoints"],
        tensorboard=environment.get("tensorboard", False),  # runs of before had none
    )


def _one_by_one(
    recipe: Recipe, rounds: Iterable[Round], interruption: Interruption, console: Console
) -> Generator[dict[str, Any], None, None]:
    outputs = ARCHS[recipe.network.arch].learned(recipe.data.word)

    def train_one(job: Round) -> dict[str, Any]:
        live = LiveProgress(job.number, recipe.fit.rounds, outputs, console)
        try:
            return train_round(job, [interruption, live])
        finally:
            live.close()

    yield from run_tasks(train_one, zip(rounds))


def _side_by_side(
    recipe: Recipe, rounds: Iterable[Round], histories: list[Path], jobs: int, console: Console
) -> Generator[dict[str, Any], None, None]:
    done = partial(share_done, histories, recipe.fit.epochs)
    with (
        TrainingsProgress(
            console, len(histories), unit="rounds", completed=done, lines=True
        ) as progress,
        closing(run_tasks(train_round, zip(rounds), processes=jobs)) as rows,
    ):
        for row in rows:
            yield row
            error = row["test"]["comparison_error_pct"]
            progress.finished(f"round {row['round']}  test error {error:.1f} %")


def _warn_of_collapse(run: Run) -> None:
    """Say in one line which rounds learned nothing, and what to try."""
    collapsed = [str(row["round"]) for row in run.metrics["rounds"] if row.get("collapsed")]
    if collapsed:
        log.warning(
            "%s collapsed in round%s %s of %d: the network gives every test pair the same answer. "
            "Try another seed than %d, a learning rate below %g, more epochs than %d, or another "
            "initialization than %s",
            run.recipe.network.arch,
            "s" * (len(collapsed) > 1),
            ", ".join(collapsed),
            len(run.rounds),
            run.recipe.fit.seed,
            run.recipe.optimizer.learning_rate,
            run.recipe.fit.epochs,
            run.recipe.network.initialization,
        )
