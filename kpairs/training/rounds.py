"""The rounds of a run, one after the other or side by side, interrupted in good order."""

import errno
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from kpairs.data.pairs import PairSet
from kpairs.data.splits import Split
from kpairs.errors import InputError, KpairsError, WorkerError
from kpairs.models.registry import Architecture
from kpairs.plots import draw_curves
from kpairs.recipes import SOLVED, Recipe
from kpairs.training.interrupt import Interruption
from kpairs.training.own_objects import Own
from kpairs.training.prepare import draw_round
from kpairs.training.progress import LiveProgress, TrainingsProgress, share_done
from kpairs.training.round import Machine, Round, train_round
from kpairs.training.run import Run
from kpairs.training.workers import log, run_tasks


def train_rounds(
    run: Run,
    folders: Mapping[int, Path],
    machine: Machine,
    network: Architecture,
    splits: tuple[Split, Split],
    *,
    own: Own,
    jobs: int,
    console: Console,
    first: tuple[keras.Model, tuple[PairSet, PairSet]] | None = None,
) -> Run:
    """Train rounds of a run.

    Args:
        run: the run.
        folders: where they write, by number, as `Run.unfinished` gives them.
        machine: the way they train.
        network: the recipe's architecture.
        splits: the images that their pairs are drawn from.
        own: objects of the user's own.
        jobs: processes that train rounds side by side.
        console: where progress is shown.
        first: network and pairs of round 1, as far as they are built and drawn already.

    Returns:
        The finished run.
    """
    recipe, interruption = run.recipe, Interruption()
    rounds = (
        Round(
            recipe=recipe,
            number=number,
            folder=folder,
            pairs=first[1] if first and number == 1 else draw_round(recipe, number, *splits),
            classes=len(splits[0].classes),
            machine=machine,
            own=own,
        )
        for number, folder in folders.items()
    )
    if jobs == 1:
        rows = _one_by_one(rounds, interruption, console, network, first and first[0])
    else:
        histories = [folder / "history.csv" for folder in folders.values()]
        fork = machine.threads == 1 and own == Own()
        rows = _side_by_side(recipe, rounds, histories, jobs, console, fork)
    try:
        with interruption.noted(), closing(rows):
            for row in rows:
                run.add_round(row)
                interruption.check()
            interruption.check()
    except (KeyboardInterrupt, WorkerError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:  # of the terminal's pipe
            raise
        raise _stopped(run.path, error) from error
    solved = recipe.network.arch in SOLVED and recipe.fit.epochs == 1  # a curve of one point
    if not solved and (curves := _curves(run)):
        draw_curves(curves, run.path / "curves.png", recipe.network.arch)
    _warn_of_collapse(run)
    return run


def _stopped(path: Path, error: BaseException) -> BaseException:
    """Return an error that also says what is saved, and how to go on."""
    run = Run.open(path)  # again: the signal may have come while a round was being added
    return (KpairsError if isinstance(error, OSError) else type(error))(
        f"{str(error) or 'interrupted'}; {len(run.rounds)} of {run.recipe.fit.rounds} rounds are "
        f"finished, saved in {path}; go on with: kpairs train --resume {path}"
    )


def _curves(run: Run) -> list[list[dict[str, float]]]:
    """Read the curves of the finished rounds; a damaged one is left out, with a warning."""
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


def _one_by_one(
    rounds: Iterable[Round],
    interruption: Interruption,
    console: Console,
    network: Architecture,
    first: keras.Model | None,  # of round 1
) -> Generator[dict[str, Any], None, None]:
    def train_one(task: Round) -> dict[str, Any]:
        live = LiveProgress(task.recipe, task.number, console)
        try:
            built = first if task.number == 1 else None
            return train_round(task, [interruption, live], network=network, model=built)
        finally:
            live.close()

    yield from run_tasks(train_one, zip(rounds))


def _side_by_side(
    recipe: Recipe,
    rounds: Iterable[Round],
    histories: list[Path],
    jobs: int,
    console: Console,
    fork: bool,
) -> Generator[dict[str, Any], None, None]:
    done = partial(share_done, histories, recipe.fit.epochs)
    progress = TrainingsProgress(console, len(histories), unit="rounds", completed=done, lines=True)
    with ExitStack() as shown:

        def tasks() -> Iterator[tuple[Round]]:
            shown.enter_context(progress)  # its threads start after workers are forked
            yield from zip(rounds)

        rows = shown.enter_context(
            closing(run_tasks(train_round, tasks(), processes=jobs, fork=fork))
        )
        for row in rows:
            yield row
            error = row["test"]["comparison_error_pct"]
            progress.finished(f"round {row['round']}  {recipe.data.tested} error {error:.1f} %")


def _warn_of_collapse(run: Run) -> None:
    """Say in one line which rounds learned nothing, and what to try."""
    if run.recipe.network.arch in SOLVED:  # neither epochs nor a seed would help
        return
    collapsed = [str(row["round"]) for row in run.metrics["rounds"] if row.get("collapsed")]
    if collapsed:
        recipe = run.recipe
        log.warning(
            "%s collapsed in round%s %s of %d: it gives every test pair the same answer, so it has "
            "learned nothing yet. Train more than %d epochs, or with a learning rate below %g; if "
            "that does not help, take another seed than %d",
            recipe.network.arch,
            "s" * (len(collapsed) > 1),
            ", ".join(collapsed),
            len(run.rounds),
            recipe.fit.epochs,
            recipe.optimizer.learning_rate,
            recipe.fit.seed,
        )
