"""One round: the training of one network, from its last checkpoint if there is one."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from kpairs.data.pairs import PairSet
from kpairs.data.splits import Split
from kpairs.errors import UsageError
from kpairs.files import refuse_links
from kpairs.loading import save_model
from kpairs.models.registry import Architecture
from kpairs.networks import ARCHS, import_modules, import_of, imported_modules
from kpairs.recipes import Recipe
from kpairs.recipes.recipe import Data
from kpairs.training.batches import Batches, Randomness, varied
from kpairs.training.callbacks import (
    AfterEpoch,
    BestEpoch,
    EventFiles,
    MovingAverage,
    StopOnNonFinite,
    evaluate,
)
from kpairs.training.checkpoint import Checkpoint
from kpairs.training.compile import Phase, compile_model, phases
from kpairs.training.device import compute
from kpairs.training.evaluate import measure
from kpairs.training.graded import GradesHead
from kpairs.training.interrupt import InMainThread
from kpairs.training.linear import LinearHead
from kpairs.training.lock import locked
from kpairs.training.network import architecture_of, build_round
from kpairs.training.own_objects import Own
from kpairs.training.prepare import Prepared, prepare
from kpairs.training.progress import tested_as
from kpairs.training.records import ENGINES
from kpairs.training.workers import log

HELD_OUT = "held-out"  # folder of a round's first fine-tuning
# A loss on held-out pairs that falls by less than both falls by chance: a share of it (see
# docs/experiments.md), and nats of all pairs together, near a likelihood ratio test at 5 %.
_SHARE, _NATS = 0.05, 2.0


@dataclass(frozen=True)
class Machine:
    """The way a training runs, beside its recipe.

    Its attributes are arguments of `kpairs.train`. Raises UsageError for an unknown engine.
    """

    device: str = "auto"
    threads: int = 1
    engine: str = "auto"
    keep_checkpoints: bool = False
    tensorboard: bool = False
    cluster: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(
                f"engine: expected one of {', '.join(ENGINES)}, received {self.engine!r}"
            )

    def facts(self) -> dict[str, Any]:
        """Return what a run keeps of it beside device and threads."""
        return {
            "engine": self.engine,
            "keep_checkpoints": self.keep_checkpoints,
            "tensorboard": self.tensorboard,
        }


@dataclass(frozen=True)
class Round:
    """One round to train, complete: it can be sent to another process.

    Attributes:
        recipe: the completed recipe.
        number: the round, from 1.
        folder: where to write.
        pairs: training pairs as drawn, not augmented, and test pairs.
        classes: number of ranks.
        machine: how the training runs.
        own: Keras objects of the user's own in place of the recipe's.
        test_images: images of which all ordered pairs are measured too, where a study asks for
            that; default those of the test pairs.
        normalized_by: the pairs whose mean and deviation standardise images; default the
            training pairs.
        imports: modules of the user's own architectures, which another process imports first.
    """

    recipe: Recipe
    number: int
    folder: Path
    pairs: tuple[PairSet, PairSet]
    classes: int
    machine: Machine = field(default_factory=Machine)
    own: Own = field(default_factory=Own)
    test_images: Split | None = None
    normalized_by: PairSet | None = None
    imports: tuple[str, ...] = field(default_factory=imported_modules)


def train_round(
    task: Round,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    *,
    network: Architecture | None = None,
    model: keras.Model | None = None,
) -> dict[str, Any]:
    """Train one round, from its last checkpoint if there is one.

    Args:
        task: the round.
        callbacks: further Keras callbacks, of kpairs' own display.
        network: the recipe's architecture, if it is known already.
        model: the round's network as `build_round` returns it, if it is built already.

    Returns:
        The round's row of `Run.metrics`. Its best epoch is chosen on the test pairs, as report 004
        does; where there are validation pairs, on those, and then it is also the result.

    Raises:
        DivergedError: the loss became NaN or infinite.
        KpairsError: another process trains this round.
        InputError: a checkpoint or history that cannot be read; a folder that leads elsewhere.
    """
    import_modules(task.imports)
    recipe, folder = task.recipe, task.folder
    refuse_links(folder)
    folder.mkdir(exist_ok=True)
    with locked(folder), compute(task.machine.device, task.machine.threads) as device:
        network = network or architecture_of(recipe, task.own.network)
        tuned = network.linear and bool(recipe.fit.fine_tune)
        epochs = _epochs_that_help(task, network, device, [*callbacks]) if tuned else None
        data = prepare(recipe, task.number, *task.pairs, task.normalized_by, whole=tuned)
        model = model or build_round(recipe, task.number, task.classes, task.own.network)
        fit = _Fit(task, network, model, data, device, epochs)
        engine, head = fit.run([*callbacks]), fit.head
        outputs = network.outputs
        if head is None:
            measured = measure(model, data.train, data.test, outputs, network.own_targets)
        else:
            seen, (train, test) = head.on_features()
            measured = measure(seen, train, test, outputs)
        save_model(model, folder / "model.keras")
    if tuned:
        best = {"epoch": len(fit.after.rows), **measured["test"]}
    elif fit.best is None:
        best = _best_epoch(fit.after.rows)
    else:
        best = {"epoch": fit.best.epoch, **measured["test"]}
    return {
        "round": task.number,
        "epochs": len(fit.after.rows),
        "rescaling": data.rescaling and list(data.rescaling),
        **measured,
        **({} if head is None or len(fit.after.rows) > 1 else head.facts),
        "best_epoch": best,
        "engine": engine,
        "seconds": round(fit.checkpoint.seconds, 2),
    }


def _epochs_that_help(
    task: Round, network: Architecture, device: str, callbacks: list[keras.callbacks.Callback]
) -> int:
    """Fine-tune without some images, and return how many epochs to train on all.

    These are all epochs, or as many as were best where patience ended the training. One epoch,
    which is the linear score, where fine-tuning does not clearly lower the loss on those images.
    This training is kept in the folder `held-out`.
    """
    task = replace(task, folder=task.folder / HELD_OUT)
    task.folder.mkdir(exist_ok=True)
    data = prepare(task.recipe, task.number, *task.pairs, task.normalized_by)
    held = data.validation or data.test  # a recipe that fine-tunes a head sets images aside
    log.info(
        f"fine-tuning: first {len(data.train):,} pairs train, and {len(held):,} pairs of other "
        "images say whether it helps"
    )
    model = build_round(task.recipe, task.number, task.classes, task.own.network)
    fit = _Fit(task, network, model, replace(data, test=held), device)
    with tested_as(callbacks, "held-out"):
        fit.run(callbacks)
    rows = [{name: float(cell) for name, cell in row.items()} for row in fit.after.rows]
    last = len(rows)
    if fit.best is not None and last < task.recipe.fit.epochs:
        last = fit.best.epoch
    losses = rows[0]["validation_loss"], rows[last - 1]["validation_loss"]
    helps = clearly_falls(*losses, len(held))
    before, after = (  # errors of few pairs say less than their loss
        f"loss {row['validation_loss']:.3f}, error "
        f"{100 * (1 - row['validation_comparison_accuracy']):.1f} %"
        for row in (rows[0], rows[last - 1])
    )
    log.info(
        f"fine-tuning: on those pairs {before} before, {after} after it; "
        + (f"all {len(task.pairs[0]):,} pairs train now" if helps else "the linear score is kept")
    )
    return last if helps else 1


def clearly_falls(before: float, after: float, pairs: int) -> bool:
    """Tell whether a mean loss of held-out pairs, in nats, falls by more than chance."""
    return before - after > max(_SHARE * before, _NATS / pairs)


class _Fit:
    """The fit of one round's network, phase by phase, from where its checkpoint is.

    Args:
        task: the round.
        network: its architecture.
        model: its network, as `build_round` returns it.
        data: its pairs.
        device: torch device of the batches.
        epochs: how many of the recipe's epochs to train; default all.

    Attributes:
        head: the head that is solved for in place of the first epoch, and measures the network;
            None where there is none.
        after: follows up each epoch.
        best: the best epoch on validation pairs; None without such pairs.
        checkpoint: saves the state after each epoch.
        tested: batches of the test pairs; the pairs themselves for a head.
    """

    def __init__(
        self,
        task: Round,
        network: Architecture,
        model: keras.Model,
        data: Prepared,
        device: str,
        epochs: int | None = None,
    ) -> None:
        recipe, machine = task.recipe, task.machine
        self.task, self.network, self.model, self.data = task, network, model, data
        self.epochs = epochs or recipe.fit.epochs
        self.head = None
        if network.linear:
            kind = GradesHead if len(network.learned) > 1 else LinearHead
            self.head = kind(model, recipe, task.number, network, data, task.folder)
        known: dict[str, Any] = {"outputs": network.outputs, "own_targets": network.own_targets}
        known["device"] = device
        vary = partial(varied, recipe, task.number, data.train)
        self.batches = Batches(data.train, batch_size=recipe.fit.batch_size, vary=vary, **known)
        self.phases = phases(recipe)
        self._compile(self.phases[0])
        taken: Callable[[PairSet], Any] = partial(Batches, **known)
        evaluated: Callable[[Any], dict[str, float]] = partial(evaluate, model)
        if self.head is not None:  # takes pairs, and makes batches of features
            taken, evaluated = (lambda pairs: pairs), self.head.evaluate
        self.tested = taken(data.test)
        decay = recipe.optimizer.averaging
        average = MovingAverage(model, decay) if decay else None
        self.best = None
        if data.validation is not None:
            validated = partial(evaluated, taken(data.validation))
            self.best = BestEpoch(model, validated, recipe.fit.patience, average)
        self.checkpoint = Checkpoint(task.folder, machine.keep_checkpoints)
        self.done = self.checkpoint.epochs
        # A report that states its best epoch states the best training accuracy too.
        best_is_told = recipe.reported_epoch == "best"
        train = partial(evaluated, taken(data.train)) if best_is_told else None
        place = task.folder / "tensorboard"
        self.after = AfterEpoch(
            task.folder / "history.csv",
            self.done,
            average=average,
            best=self.best,
            evaluated=train,
            tested=partial(evaluated, self.tested),
            events=EventFiles(place, self.done) if machine.tensorboard else None,
        )
        self.checkpoint.further = tuple(self.after.variables)

    def run(self, callbacks: list[keras.callbacks.Callback]) -> str:
        """Train the network; a linear head is solved for in place of the first epoch.

        Args:
            callbacks: further callbacks, of kpairs' own display.

        Returns:
            The engine of its steps: "lowered", or "keras" for Keras' own.
        """
        model, recipe, done, engine = self.model, self.task.recipe, self.done, "keras"
        randomness = Randomness(recipe.fit.seed, self.task.number, self.batches)
        every, last = recipe.fit.validate_every, self.epochs
        for phase in self.phases:
            start, end = max(phase.begin, done), min(phase.end, last)
            if end < start:
                continue
            if phase.begin:
                self._compile(phase)
            if self.head is not None and not phase.begin:
                if not done:
                    self._solve(self.head, callbacks)
                continue
            if self.task.machine.engine == "auto":
                engine = self._lower(phase)
            if phase.begin < done:
                self.checkpoint.restore(model)
            if start < end and not self._is_over(start):
                model.fit(
                    self.batches,
                    epochs=end,
                    initial_epoch=start,
                    shuffle=False,  # the batches are
                    validation_data=self.tested if self.head is None else None,
                    validation_freq=sorted({*range(every, last, every), last}),
                    callbacks=[
                        StopOnNonFinite(phase.rate * recipe.optimizer.learning_rate),
                        randomness,
                        InMainThread(),
                        *callbacks,
                        self.after,
                        *self.task.own.callbacks,
                        self.checkpoint,
                    ],
                    verbose=0,
                )
            if model.stop_training or self._is_over(start):
                break
        self.after.finish(model)
        return engine

    def _is_over(self, epochs: int) -> bool:
        return self.best is not None and self.best.is_over(epochs)

    def _compile(self, phase: Phase) -> None:
        known: dict[str, Any] = {"judged": self.data.judged, "rescaling": self.data.rescaling}
        known |= {"steps": len(self.batches), "own": self.task.own}
        compile_model(self.model, self.task.recipe, self.network, phase, **known)

    def _solve(self, head: LinearHead, callbacks: list[keras.callbacks.Callback]) -> None:
        """Pass off a solution as the first epoch, so that all that follows epochs follows it."""
        followers = keras.callbacks.CallbackList(
            [*callbacks, self.after, self.checkpoint],
            add_history=False,
            model=self.model,
            epochs=self.epochs,
            steps=1,
            verbose=0,
        )
        followers.on_train_begin()
        followers.on_epoch_begin(0)
        followers.on_epoch_end(0, head.solve())
        followers.on_train_end()

    def _lower(self, phase: Phase) -> str:
        """Lower the training steps where that is possible; return the engine's name."""
        if keras.backend.backend() != "torch":
            return "keras"
        from kpairs.training.engine.lower import NotLowerable, lower

        try:
            lower(self.model, *self.batches.first(), alike=self._same_steps(phase))
        except NotLowerable as error:
            log.warning("%s trains by Keras' own, slower steps: %s", self.model.name, error)
            return "keras"
        return "lowered"

    def _same_steps(self, phase: Phase) -> Hashable | None:
        """Return the cache key of the traced step; None for user code, which may be random."""
        recipe, own = self.task.recipe, self.task.own
        mine = own.loss is not None or own.optimizer is not None
        if mine or import_of(recipe.network.arch) or recipe.network.arch not in ARCHS:
            return None
        same = recipe.model_dump(exclude=_OUTSIDE_STEPS)
        times: tuple[object, ...] = phase, len(self.batches)
        if recipe.optimizer.schedule == "constant":  # the rate is a variable, time plays no part
            del same["optimizer"]["learning_rate"], same["fit"]["epochs"]
            times = (phase.frozen,)
        shapes = [tuple(v.shape) for v in self.model.variables]  # by the number of classes
        return repr(same), times, self.data.judged, repr(shapes)


# Fields that decide which batches there are, and nothing of the step that trains on one.
_OUTSIDE_STEPS: dict[str, Any] = {
    **dict.fromkeys(("variation", "origin", "reported_rounds", "reported_epoch"), True),
    "data": set(Data.model_fields) - {"image_size", "channels", "word", "normalization"},
    "optimizer": {"averaging"},
    "fit": {"batch_size", "shuffle", "fine_tune", "validate_every", "patience", "rounds", "seed"},
}


def _best_epoch(history: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the epoch with the least test error; cells of a resumed history are texts."""
    accuracies = {int(row["epoch"]): float(row["test_comparison_accuracy"]) for row in history}
    evaluated = {epoch: share for epoch, share in accuracies.items() if not math.isnan(share)}
    best = max(evaluated, key=evaluated.__getitem__)
    return {"epoch": best, "comparison_error_pct": round(100 * (1 - evaluated[best]), 4)}
