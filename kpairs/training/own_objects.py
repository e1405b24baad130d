"""Keras objects of the user's own, saved in a run as far as Keras can serialise them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from kpairs.errors import UsageError, first_line
from kpairs.files import read_json, write_json
from kpairs.models.own import OwnNetwork
from kpairs.training.compile import Own
from kpairs.training.run import Run
from kpairs.training.workers import log

_FILE = "objects.json"


def save_objects(folder: Path, own: Own) -> None:
    """Write loss and optimizer as Keras' configurations; say which could not be written."""
    found: dict[str, Any] = {}
    for name in ("loss", "optimizer"):
        value = getattr(own, name)
        if value is None:
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


def load_objects(run: Run, network: OwnNetwork | None, given: Own) -> Own:
    """Return a run's own objects: those given, else those that it saved.

    Raises:
        UsageError: the run needs an object that it could not save.
    """
    environment = run.environment
    if "own_outputs" in environment and network is None:
        raise UsageError(
            f"{run.path}: this run trains a model of your own; pass it again: "
            "kpairs.resume(path, model=...)"
        )
    if (names := environment.get("own_callbacks")) and not given.callbacks:
        log.warning("%s was begun with callbacks (%s); none is passed", run.path, ", ".join(names))
    file = run.path / _FILE
    saved = read_json(file, "Keras objects") if file.exists() else {}
    found = {name: getattr(given, name) for name in ("loss", "optimizer")}
    for name, config in saved.items():
        if found.get(name) is None:
            found[name] = _loaded(run, name, config)
    return Own(found["loss"], found["optimizer"], given.callbacks)


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
