"""From a trained model to checked files, each with a description and a model card beside it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kpairs.data import PairSet
from kpairs.data.settings import PixelSettings
from kpairs.errors import KpairsError, UsageError, unknown
from kpairs.exports.runtime.loading import sidecar_path
from kpairs.exports.runtime.trust import no_better_than_chance
from kpairs.exports.writing.card import card
from kpairs.exports.writing.formats import FORMATS, OPSET, Format, Onnx
from kpairs.exports.writing.int8 import Quantization
from kpairs.exports.writing.parity import Parity
from kpairs.exports.writing.trained import Trained
from kpairs.files import atomic_path, check_output
from kpairs.training.device import compute
from kpairs.training.evaluate import run_splits
from kpairs.training.linear import head_of_round
from kpairs.training.network import architecture_of_run
from kpairs.training.prepare import draw_round
from kpairs.training.reference import reference_of
from kpairs.training.run import Run

log = logging.getLogger(__name__)

_CALIBRATION = 500  # training pairs that show int8 the range of every value
_NOISE = 64  # pairs on which a model without test pairs is checked
_MARK = b"kpairs"  # in every exported file, description and card


@dataclass(frozen=True)
class Export:
    """One file that was written.

    Attributes:
        format: a key of `FORMATS`.
        path: the file; `<path>.json` describes it and `<path>.md` is its model card.
        description: the content of `<path>.json`.
        parity: the check against Keras; None for int8, which computes something else.
        quantization: losses and gains of int8; None for the other formats.
    """

    format: str
    path: Path
    description: dict[str, Any]
    parity: Parity | None = None
    quantization: Quantization | None = None


def export(
    model: Run | keras.Model,
    path: str | Path | None = None,
    *,
    number: int = 1,
    formats: Sequence[str] = ("onnx",),
    opset: int = OPSET,
    force: bool = False,
    data_root: str | Path | None = None,
    pairs: PairSet | None = None,
    calibration: PairSet | None = None,
    outputs: Mapping[str, str] | None = None,
    classes: Sequence[str] = (),
    pixels: PixelSettings | None = None,
) -> list[Export]:
    """Export a run, or any functional Keras model that compares two images.

    Args:
        model: a `kpairs.Run`, or a Keras model with two image inputs and a comparison output.
        path: name of the files; a run's default is `<run folder>/<arch>`.
        number: the round of a run.
        formats: keys of `FORMATS`.
        opset: version of the ONNX operators.
        force: replace files that are no earlier exports.
        data_root: cache folder of the digit images, for a run.
        pairs: test pairs of a Keras model; without them the check runs on noise and the files
            state no test error.
        calibration: training pairs of a Keras model, for int8.
        outputs: kind of each output to export, the comparison first, as `kpairs.train` takes them.
        classes: class names in rank order, where outputs tell a class.
        pixels: how a picture becomes an input; default padded to the model's shape, as it is.

    Returns:
        One `Export` per format, in their order.

    Raises:
        UsageError: an unknown format, a path with another ending, a model that does not compare
            two images; see also `export_model`.
        InputError: no such round, or its model cannot be read.
        ParityError: see `export_model`.
        KpairsError: see `export_model`.

    Example:
        >>> import kpairs
        >>> run = kpairs.train("ws", "run", pairs=100, test_pairs=100, epochs=1, verbose=0)
        >>> [export.path.name for export in kpairs.export(run)]
        ['ws.onnx']
    """
    if isinstance(model, Run):
        return export_run(model, number, path, data_root, formats, opset, force=force)
    if path is None:
        raise UsageError("path: expected the name of the file to write, received none")
    _check_formats(formats)
    stem = _stem(Path(path), formats)
    with compute("cpu"):
        trained = Trained.from_keras(model, outputs, tuple(classes), pixels)
        wanted = [FORMATS[name](opset, calibration) for name in formats]
        return export_model(trained, pairs, stem, wanted, force=force)


def export_run(
    run: Run,
    number: int = 1,
    path: str | Path | None = None,
    data_root: str | Path | None = None,
    formats: Sequence[str] = ("onnx",),
    opset: int = OPSET,
    *,
    force: bool = False,
) -> list[Export]:
    """Export the model of one round, checked on that round's test pairs, as `export` does."""
    architecture_of_run(run)
    _check_formats(formats)
    stem = run.path / run.recipe.network.arch if path is None else _stem(Path(path), formats)
    with compute("cpu"):
        trained, calibration, pairs = _from_run(run, number, data_root)
        wanted = [FORMATS[name](opset, calibration) for name in formats]
        return export_model(trained, pairs, stem, wanted, force=force)


def _from_run(
    run: Run, number: int, data_root: str | Path | None
) -> tuple[Trained, PairSet | None, PairSet]:
    """Return a round's model, pairs to calibrate on, and test pairs: all that an export needs.

    Without its images, a run is checked on the pairs that it keeps.
    """
    recipe = run.recipe
    try:
        recipe, splits = run_splits(run, data_root)
        train, test = draw_round(recipe, number, *splits)
    except KpairsError as error:
        train, test = run.sample()
        log.warning(
            "%s; the export is checked on the %d pairs that the run keeps", error, len(test)
        )
    trained = Trained.from_run(run, number, run.classes, recipe.pixels)
    reference = reference_of(
        trained.model,
        trained.outputs,
        train,
        head_of_round(run, number),
        linear=trained.is_linear,
        keep=not recipe.fit.fine_tune,
    )
    return replace(trained, reference=reference), train.take(slice(_CALIBRATION)), test


def _check_formats(names: Iterable[str]) -> None:
    if odd := set(names) - set(FORMATS):
        raise unknown("format", odd.pop(), FORMATS)


def _stem(path: Path, formats: Sequence[str]) -> Path:
    endings = [FORMATS[name].ending for name in formats]
    for ending in sorted(endings, key=len, reverse=True):
        if path.name.endswith(ending) and path.name != ending:
            return path.with_name(path.name.removesuffix(ending))
    raise UsageError(f"{path}: expected a file name that ends in {' or '.join(endings)}")


def export_model(
    trained: Trained,
    pairs: PairSet | None,
    stem: str | Path,
    formats: Sequence[Format] = (Onnx(),),
    *,
    force: bool = False,
) -> list[Export]:
    """Write one file per format, each checked against the Keras model before it takes its name.

    Every file has inputs `left` and `right`, `(batch, height, width, channels)` float32 pixels in
    [0, 1] with any batch, the outputs in their order, its weights, and JSON that describes the
    outputs and how a picture becomes an input: in ONNX the metadata "kpairs", in the others the
    extra file "kpairs.json".

    Whatever is raised before all files are checked, nothing is written and older files are left as
    they were.

    Args:
        trained: the model and its description.
        pairs: test pairs, on which files and model must agree; None for noise.
        stem: path of the files without their ending.
        formats: what to write, `kpairs.exports.writing.formats.Onnx()` and others.
        force: replace files that are no earlier exports.

    Raises:
        UsageError: another backend than torch, an opset that cannot be written or run, int8 without
            pairs to calibrate on, or a file in the way that is no earlier export.
        ParityError: a file disagrees with the model.
        KpairsError, OSError: a file cannot be written.
    """
    if keras.backend.backend() != "torch":
        raise UsageError(
            f"export: expected KERAS_BACKEND=torch, received {keras.backend.backend()}; a run "
            "trained on another backend can be exported under torch"
        )
    for format_ in formats:
        format_.check()
    paths = [Path(f"{stem}{format_.ending}") for format_ in formats]
    _check_places((place for path in paths for place in _places(path)), force)
    description = trained.description(pairs)
    if (told := no_better_than_chance(description)) is not None:
        log.warning("%s", told)
    asked = _noise(trained.pixels.shape) if pairs is None else pairs
    if trained.is_linear:  # of a large network, which a few pairs exercise as well
        asked = asked.take(slice(_NOISE))
    with ExitStack() as files:
        exports = []
        for format_, path in zip(formats, paths, strict=True):
            # The last file entered is the first that takes its name: a model never stands beside
            # the description of a later one.
            places = [files.enter_context(atomic_path(place)) for place in _places(path)]
            exports.append(_written(format_, path, places, trained, asked, description))
        for export in exports:
            for place in _places(export.path)[:2]:  # neither may stand beside another model
                place.unlink(missing_ok=True)
    return exports


def _written(
    format_: Format,
    path: Path,
    places: Sequence[Path],
    trained: Trained,
    asked: PairSet,
    description: Mapping[str, Any],
) -> Export:
    """Write and check a file, its description and its card at temporary places."""
    card_file, sidecar_file, file = places
    written = format_.export(trained, asked, description, file)
    data = file.read_bytes()
    own = {
        **written.description,
        "file": path.name,
        "format": format_.name,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        **written.facts,
    }
    for name in ("parity", "quantization"):
        if found := getattr(written, name):
            own[name] = vars(found)
    export = Export(format_.name, path, own, written.parity, written.quantization)
    sidecar_file.write_text(json.dumps(own, indent=2) + "\n")
    card_file.write_text(card(export), encoding="utf-8")
    return export


def _noise(shape: tuple[int, ...]) -> PairSet:
    rng, unknown_ = np.random.default_rng(0), np.full(_NOISE, -1)
    left, right = (rng.random((_NOISE, *shape), dtype=np.float32) for _ in range(2))
    return PairSet(left, right, unknown_, unknown_)


def _places(path: Path) -> tuple[Path, Path, Path]:
    """Return the paths of the card, the description and the file itself."""
    return path.with_name(f"{path.name}.md"), sidecar_path(path), path


def _check_places(places: Iterable[Path], force: bool) -> None:
    """Refuse what cannot be written before any work, and before an older file is touched."""
    for place in places:
        if not place.parent.is_dir():
            raise KpairsError(f"{place.parent}: expected a folder to write to, received none")
        if place.is_dir():
            raise KpairsError(f"{place}: expected a file to write, received a folder")
        earlier = place.is_file() and _MARK in place.read_bytes()
        check_output(place, force=force or earlier)
