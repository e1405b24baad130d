"""Keras objects of the user's own, saved in a run as far as Keras can serialise them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import keras

from kpairs.errors import UsageError, first_line, unknown
from kpairs.files import read_json, write_json
from kpairs.models.own import OwnNetwork
from kpairs.networks import import_of
from kpairs.training.run import Run
from kpairs.training.workers import log

_FILE = "objects.json"
Loss: TypeAlias = keras.losses.Loss | Callable[[Any, Any], Any]
Losses: TypeAlias = Loss | Mapping[str, Loss]


@dataclass(frozen=True)
class Own:
    """Keras objects of the user's own in place of the recipe's.

    Attributes:
        network: the user's own model.
        loss: of the comparison, or of several outputs by name.
        optimizer: a fresh copy of it trains each phase.
        callbacks: called after kpairs' own, in their order.
    """

    network: OwnNetwork | None = None
    loss: Losses | None = None
    optimizer: keras.optimizers.Optimizer | None = None
    callbacks: tuple[keras.callbacks.Callback, ...] = ()

    @classmethod
    def of(
        cls,
        network: OwnNetwork | None,
        loss: Any,
        optimizer: Any,
        callbacks: Iterable[keras.callbacks.Callback],
    ) -> Own:
        """Take what Keras' `compile` takes: objects, functions, or names of Keras' own."""
        try:
            if isinstance(loss, Mapping):
                loss = {name: keras.losses.get(one) for name, one in loss.items()}
            else:
                loss = keras.losses.get(loss)
            optimizer = None if optimizer is None else keras.optimizers.get(optimizer)
        except (ValueError, TypeError) as error:
            raise UsageError(f"loss or optimizer: {first_line(error)}") from error
        return cls(network, loss, optimizer, tuple(callbacks))

    def check(self, outputs: Collection[str]) -> None:
        """Refuse losses of outputs that a network does not have."""
        for name in self.loss if isinstance(self.loss, Mapping) else ():
            if name not in outputs:
                raise unknown("output of loss", name, outputs)

    def check_margins(self, source: str, pair_loss: str, arch: str) -> None:
        """Refuse pairs with margins where the loss would not use them."""
        if pair_loss == "logistic" or self.loss is not None:
            loss = "logistic" if self.loss is None else "a loss of your own"
            raise UsageError(
                f"{source}: its column margin is for --pair-loss hinge and soft_zero_one; {arch} "
                f"is trained by {loss}. Choose one of the two (networks such as ranker take them), "
                "or rename the column to leave it out"
            )

    def facts(self, word: str, arch: str) -> dict[str, Any]:
        """Return what a run says of parts that its recipe does not describe."""
        facts: dict[str, Any] = {}
        if self.network is not None:
            facts["own_outputs"] = dict(self.network.architecture.called(word).outputs)
        if origin := import_of(arch):
            facts["import"] = origin
        if self.callbacks:
            facts["own_callbacks"] = [type(callback).__name__ for callback in self.callbacks]
        return facts

    def save(self, folder: Path) -> None:
        """Write loss and optimizer as Keras' configurations; say which could not be written."""
        found: dict[str, Any] = {}
        for name in ("loss", "optimizer"):
            if (value := getattr(self, name)) is None:
                continue
            try:
                found[name] = keras.saving.serialize_keras_object(value)
            except Exception as error:  # whatever a user's get_config raises
                log.warning(
                    "the %s cannot be saved (%s); to go on with this run, pass it to kpairs.resume",
                    *(name, first_line(error)),
                )
                found[name] = None
        if found:
            write_json(folder / _FILE, found)

    def with_saved(self, run: Run) -> Own:
        """Return these objects, and in place of those that are not given the run's saved ones.

        Raises UsageError where it could not save one, or trained another network than this one.
        """
        environment = run.environment
        if "own_outputs" in environment and self.network is None:
            raise UsageError(
                f"{run.path}: this run trains a model of your own; pass it again: "
                "kpairs.resume(path, model=...)"
            )
        if self.network is not None:
            _check_same(run, self.network)
        if (names := environment.get("own_callbacks")) and not self.callbacks:
            log.warning(
                "%s was begun with callbacks (%s); none is passed", run.path, ", ".join(names)
            )
        file = run.path / _FILE
        saved = read_json(file, "Keras objects") if file.exists() else {}
        for name in ("loss", "optimizer"):
            if name in saved and getattr(self, name) is None:
                self = replace(self, **{name: _loaded(run, name, saved[name])})
        return self


def _check_same(run: Run, network: OwnNetwork) -> None:
    """Refuse to train a run's further rounds by another network than its own."""
    known = run.environment.get("own_outputs")
    if known is None:
        raise UsageError(
            f"{run.path}: this run trains {run.recipe.network.arch}, which is built by name; "
            "expected no model"
        )
    now = network.architecture.called(run.recipe.data.word).outputs
    shapes = [tuple(variable.shape) for variable in network.model.trainable_variables]
    rounds = run.rounds
    before = run.model(rounds[0]).trainable_variables if rounds else ()
    if dict(now) != known or (rounds and shapes != [tuple(v.shape) for v in before]):
        raise UsageError(
            f"{run.path}: expected the model that this run was begun with, with the outputs "
            f"{', '.join(known)}; received another one, {network.model.name}, with the outputs "
            f"{', '.join(now)}"
        )


def _loaded(run: Run, name: str, config: Any) -> Any:
    try:
        if config is None:
            raise ValueError("it was not saved")
        return keras.saving.deserialize_keras_object(config, safe_mode=True)
    except Exception as error:  # Keras raises several kinds
        raise UsageError(
            f"{run.path}: the run's own {name} cannot be loaded ({first_line(error)[:120]}); pass "
            f"it again: kpairs.resume(path, {name}=...)"
        ) from error
