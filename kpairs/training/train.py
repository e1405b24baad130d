"""Training runs: begun from a recipe and images, and resumed."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from kpairs.bars import counting, preparing, reading
from kpairs.data.pairs import PairSet, packed
from kpairs.data.source import Source
from kpairs.data.stored import Stored
from kpairs.errors import UsageError, first_line
from kpairs.files import write_json
from kpairs.models.outputs import Output
from kpairs.models.own import OwnNetwork
from kpairs.models.registry import Architecture
from kpairs.recipes import LINEAR, SOLVED, Recipe, default_recipe
from kpairs.reports.resolve import open_images, recipe_for, recipe_of, suited
from kpairs.training.batches import Batches
from kpairs.training.compile import compile_model
from kpairs.training.device import compute, describe
from kpairs.training.graded import with_head
from kpairs.training.linear import featured
from kpairs.training.lock import locked
from kpairs.training.network import (
    architecture_of,
    architecture_of_run,
    build_round,
    completed,
    with_backbone,
)
from kpairs.training.own_objects import Losses, Own
from kpairs.training.prepare import draw_round
from kpairs.training.records import differences
from kpairs.training.round import Machine
from kpairs.training.rounds import train_rounds
from kpairs.training.run import Run
from kpairs.training.workers import log


def train(
    recipe: Recipe | str | None = None,
    out: str | Path | None = None,
    *,
    data: str | Path | Source | None = None,
    best: bool = False,
    model: keras.Model | None = None,
    outputs: Mapping[str, str | Output] | None = None,
    loss: Losses | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    device: str = "auto",
    threads: int = 1,
    engine: str = "auto",
    jobs: int = 1,
    keep_checkpoints: bool = False,
    tensorboard: bool = False,
    cluster: str | None = None,
    data_root: str | Path | None = None,
    verbose: int | str | Console = "auto",
    **fields: Any,
) -> Run:
    """Train a network on pairs of images, and keep the results in a new run folder.

    A recipe says how many rounds are trained. Each round has its own training pairs, test pairs and
    initial weights, all drawn from the seed and the round's number. The same recipe gives the same
    weights bit for bit on the same kind of CPU with the same number of threads.

    The global generators of Python, NumPy and the backend are seeded. A warning is logged where a
    network ends by giving every pair the same answer.

    Args:
        recipe: the recipe, or the name of an architecture, which stands for its own recipe. It may
            be left out beside `model`, and beside `data`: then `linear` is trained, or
            `linear_grades` on graded images.
        out: the run folder; default `runs/<date>-<arch>`.
        data: other images than the recipe's: a path as `kpairs.open_source` takes it, or a source.
            Fields that depend on images (such as the number of pairs) are then fitted to these,
            unless they are given.
        best: beside `data` alone: train the linear score, its fine-tuned form and `ranker`, and
            keep the best on the same held-out images; see `kpairs.training.best.train_best`.
        model: a functional Keras model of your own, with two image inputs and a comparison output.
            Each round begins with its weights as they are.
        outputs: kind of each output of `model` that trains, by name, the comparison first; needed
            where names and last layers do not tell. A `kpairs.Output` learns targets of its own.
            See `kpairs.models.own.OwnNetwork.of`.
        loss: a Keras loss of the comparison, or losses by output name, in place of the recipe's.
        optimizer: a Keras optimizer in place of the recipe's.
        callbacks: Keras callbacks, called in their order after kpairs' own. By the names `val_...`
            they watch validation pairs where the recipe sets some aside, else test pairs.
        device: "auto" (a GPU if there is one), "cpu", "gpu", or "cuda:N".
        threads: CPU threads of each process.
        engine: "auto" lowers training steps to a torch graph where that is possible; "keras"
            runs Keras' own.
        jobs: processes that train rounds side by side.
        keep_checkpoints: keep the state after every epoch, not only after the last.
        tensorboard: write TensorBoard's event files into each round's folder.
        cluster: address of a dask scheduler, `tcp://host:port`, on whose workers features of new
            images are taken.
        data_root: cache folder of fetched and prepared images.
        verbose: 0 for silence, 1 for progress on standard error, "auto" for progress where that is
            a terminal.
        **fields: any field of the recipe by its flat name, such as `epochs=10, seed=7`; they are
            the options of `kpairs train --help-all`.

    Returns:
        The finished `Run`.

    Raises:
        UsageError: an unknown field, a recipe that does not fit its architecture, or an unknown
            engine or device.
        InputError: images that are missing, unreadable or too few.
        KpairsError: the folder exists or cannot be written, the loss became NaN or infinite, ...
        KeyboardInterrupt: interrupted; its message says what is saved.

    Example:
        >>> import kpairs
        >>> run = kpairs.train("ws", "run", pairs=100, test_pairs=100, epochs=1, verbose=0)
        >>> run.rounds
        [1]
    """
    console = _console(verbose)
    network = None if model is None else OwnNetwork.of(model, outputs)
    own = Own.of(network, loss, optimizer, callbacks)
    machine = Machine(device, threads, engine, keep_checkpoints, tensorboard, cluster)
    if not best:
        chosen, source = _chosen(recipe, data, network, fields, data_root, console)
        mine = {"loss": own.loss, "optimizer": own.optimizer}
        chosen.refuse_steps({**fields, **{n: x for n, x in mine.items() if x is not None}})
        return train_source(
            chosen, source, out, machine=machine, jobs=jobs, own=own, console=console
        )
    if recipe is not None or own != Own():
        raise UsageError("best: expected data and fields of a recipe alone; it chooses the rest")
    from kpairs.training.best import train_best  # which trains by this module

    fields = {"held_out": "images", **fields}
    chosen, source = _chosen(recipe, data, network, fields, data_root, console)
    return train_best(chosen, source, out, given=fields, machine=machine, console=console)


def _chosen(
    recipe: Recipe | str | None,
    data: str | Path | Source | None,
    network: OwnNetwork | None,
    fields: dict[str, Any],
    root: str | Path | None,
    console: Console,
) -> tuple[Recipe, Source]:
    """Return the recipe and the images that `train` was asked for."""
    if recipe is None and data is None and network is None:
        raise UsageError("expected a recipe, the name of an architecture, a model or data")
    chosen = (
        recipe if isinstance(recipe, Recipe) else recipe_of(LINEAR if recipe is None else recipe)
    )
    if network is not None:
        chosen, fields = _recipe_of_model(network, None if recipe is None else chosen, fields)
    if isinstance(data, Source):
        source = data
    else:
        place = {} if data is None else {"data": data}
        with reading(console) as read:
            source = open_images(chosen, {**fields, **place}, root, read)
    if data is None:
        chosen = chosen.replace(**fields) if fields else chosen
        return chosen, chosen.divided(source)
    if recipe is None and network is None:
        chosen = recipe_for(source)
    return suited(chosen, source, fields)


def train_source(
    recipe: Recipe,
    source: Source,
    out: str | Path | None = None,
    *,
    machine: Machine | None = None,
    jobs: int = 1,
    own: Own | None = None,
    console: Console | None = None,
) -> Run:
    """Train a recipe on an open source into a new run folder; see `train`."""
    console = console or Console(quiet=True)
    machine, own = machine or Machine(), own or Own()
    recipe, architecture = completed(with_backbone(recipe, source), source, own.network)
    if machine.cluster and not architecture.linear:
        raise UsageError(
            f"cluster: expected a network whose features are taken, such as linear; received "
            f"{architecture.name}"
        )
    pixels = recipe.pixels
    own.check(architecture.learned)
    with compute(machine.device, machine.threads) as device:
        # Built and drawn before there is a folder: what is refused leaves nothing behind.
        model = build_round(recipe, 1, len(source.classes), own.network)
        source.announce(pixels)
        with preparing(console) as prepared:
            splits = source.splits(pixels, prepared)
        pairs = draw_round(recipe, 1, *splits)
        pairs[0].targets(architecture.outputs, architecture.own_targets)  # may be refused
        if pairs[0].margin is not None:
            own.check_margins(source.name, recipe.fit.pair_loss, architecture.name)
        if own.loss is not None:
            _try_losses(model, recipe, architecture, pairs[0], own)
        if architecture.linear:
            if isinstance(pairs[0].left, Stored):  # rounds find these again
                with counting(console, "features") as passed:
                    featured(model, *pairs, progress=passed, cluster=machine.cluster)
            undecided, recipe = recipe, with_head(recipe, model, pairs[0])
            if recipe != undecided:
                model = build_round(recipe, 1, len(source.classes))
        facts = {
            **describe(device, machine.threads),
            **machine.facts(),
            **own.facts(recipe.data.word, architecture.name),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    run = Run.create(recipe, facts, source, out, packed(*pairs))
    own.save(run.path)
    machine = replace(machine, device=_device_of(device))
    with locked(run.path):
        return train_rounds(
            *(run, run.unfinished(), machine, architecture, splits),
            own=own,
            jobs=jobs,
            console=console,
            first=(model, pairs),
        )


def _try_losses(
    model: keras.Model, recipe: Recipe, network: Architecture, pairs: PairSet, own: Own
) -> None:
    """Compute the user's own losses once, on a few pairs.

    Raises:
        UsageError: losses that cannot take the outputs and targets.
    """
    judged = pairs.probability is not None
    few = Batches(pairs.take(slice(0, 64)), network.outputs, 64, own_targets=network.own_targets)
    compile_model(model, recipe, network, judged=judged, own=own)
    try:
        model.evaluate(few, verbose=0)
    except Exception as error:  # whatever Keras, the backend or a user's code raises
        kinds = ", ".join(f"{name} {kind}" for name, kind in network.learned.items())
        targets = "probabilities" if judged else "class numbers"
        raise UsageError(
            f"loss: expected one that takes the network's outputs ({kinds}) and targets that are "
            f"{targets}, such as SparseCategoricalCrossentropy(from_logits=True) for logits of "
            f"classes or BinaryCrossentropy() for a sigmoid; received one that raised: "
            f"{first_line(error)}"
        ) from error


def resume(
    path: str | Path,
    *,
    rounds: int | None = None,
    data: str | Path | None = None,
    model: keras.Model | None = None,
    outputs: Mapping[str, str | Output] | None = None,
    loss: Losses | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    jobs: int = 1,
    data_root: str | Path | None = None,
    verbose: int | str | Console = "auto",
) -> Run:
    """Go on with a run that was stopped, from the last epoch of each round that has begun.

    Device, threads and engine are the run's. On a CPU of the same kind, with the same versions, the
    result is that of a run that never stopped, bit for bit; on another this logs a warning, and
    `environment.json` keeps what it was, under `resumed`.

    Args:
        path: the run folder.
        rounds: train this many rounds in all instead of the recipe's.
        data: where the run's images are now, if they have moved.
        model: the run's own model again; needed for rounds that have not begun.
        outputs: see `train`.
        loss: see `train`; default the run's, as far as it could be saved.
        optimizer: see `train`; default the run's, as far as it could be saved.
        callbacks: see `train`; a run saves none.
        jobs: see `train`.
        data_root: see `train`.
        verbose: see `train`.

    Returns:
        The finished `Run`.

    Raises:
        InputError: not a run folder, or missing data.
        UsageError: the run was trained on another backend, has more rounds already, or needs
            objects that it could not save.
        KpairsError: another process trains this run; see also `train`.
        KeyboardInterrupt: interrupted; its message says what is saved.

    Example:
        >>> import kpairs
        >>> run = kpairs.train("ws", "more", pairs=100, test_pairs=100, epochs=1, verbose=0)
        >>> kpairs.resume("more", rounds=2, verbose=0).rounds
        [1, 2]
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
        architecture_of_run(run)
        network = None if model is None else OwnNetwork.of(model, outputs)
        own = Own.of(network, loss, optimizer, callbacks).with_saved(run)
        console = _console(verbose)
        source = run.source(data, data_root)
        if not run.recipe.data.is_complete:  # of an earlier version
            run.recipe, _ = completed(run.recipe, source, own.network)
        pixels = run.recipe.pixels
        source.announce(pixels)
        with preparing(console) as prepared:
            splits = source.splits(pixels, prepared)
        if rounds is not None:
            run.extend(rounds)
        folders = run.unfinished()
        if folders:
            _note_machine(run, environment)
        known = _machine_of(environment), architecture_of(run.recipe, own.network), splits
        return train_rounds(run, folders, *known, own=own, jobs=jobs, console=console)


def _console(verbose: int | str | Console) -> Console:
    if isinstance(verbose, Console):
        return verbose
    shown = sys.stderr.isatty() if verbose == "auto" else bool(verbose)
    return Console(stderr=True) if shown else Console(quiet=True)


def _recipe_of_model(
    network: OwnNetwork, recipe: Recipe | None, fields: dict[str, Any]
) -> tuple[Recipe, dict[str, Any]]:
    """Return a recipe for a user's own network, and the fields that vary it."""
    about = network.architecture
    if about.name in SOLVED:
        raise UsageError(f"model: expected another name than {about.name}, which is kpairs' own")
    learned = about.learned
    if recipe is None:
        return default_recipe(about.name, tuple(learned), {}), {"normalization": "none", **fields}
    known = recipe.fit.loss_weights
    weights = {name: known.get(name, 1.0) for name in learned}
    own = {"arch": about.name, "arch_options": {}, "loss_weights": weights, "head": "own"}
    return recipe, {**own, "backbone": None, "backbone_weights": "none", **fields}


def _note_machine(run: Run, environment: dict[str, Any]) -> None:
    """Note where another machine goes on with a run, and warn of it."""
    with compute(_device_of(environment["device"]), environment["threads"]) as name:
        here = describe(name, environment["threads"])
    if others := differences(environment, here):
        log.warning(
            "%s: rounding differs here from where this run was begun (%s): it may end elsewhere "
            "than a run that was never stopped",
            *(run.path, ", ".join(others)),
        )
        since = datetime.now(UTC).isoformat(timespec="seconds")
        resumed = [*environment.get("resumed", ()), {**here, "since": since}]
        write_json(run.path / "environment.json", {**environment, "resumed": resumed})


def _device_of(name: str) -> str:
    """Return the device of a run's rounds by its name; a first GPU is what the backend calls so."""
    if name.startswith("cpu"):
        return "cpu"
    return "gpu" if name == "cuda:0" or not name.startswith("cuda") else name


def _machine_of(environment: Mapping[str, Any]) -> Machine:
    """Return how a run's rounds are trained."""
    return Machine(
        _device_of(environment["device"]),
        environment["threads"],
        environment["engine"],
        environment["keep_checkpoints"],
        environment.get("tensorboard", False),  # earlier versions wrote no event files
    )
