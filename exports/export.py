"""From a trained model to checked files, each with a description and a model card beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kpairs.data import PairSet
from kpairs.errors import KpairsError, UsageError, unknown
from kpairs.exports.card import card
from kpairs.exports.formats import FORMATS, OPSET, Format, Onnx
from kpairs.exports.int8 import Quantization
from kpairs.exports.loading import sidecar_path
from kpairs.exports.parity import Parity
from kpairs.exports.trained import Trained
from kpairs.files import atomic_path
from kpairs.training.device import compute
from kpairs.training.evaluate import run_splits
from kpairs.training.network import architecture_of_run
from kpairs.training.prepare import draw_round
from kpairs.training.run import Run


@dataclass(frozen=True)
class Export:
    """One file that was written.

    Attributes:
        format: a key of `FORMATS`.
        path: the file; `<path>.json` describes it and `<path>.md` is its model card.
        description: what `<path>.json` holds, as a dict.
        parity: the check against Keras; None for int8, which computes something else.
        quantization: what int8 costs and brings; None for the other formats.
    """

    format: str
    path: Path
    description: dict[str, Any]
    parity: Parity | None = None
    quantization: Quantization | None = None


def export_run(
    run: Run,
    number: int = 1,
    path: str | Path | None = None,
    data_root: str | Path | None = None,
    formats: Sequence[str] = ("onnx",),
    opset: int = OPSET,
) -> list[Export]:
    """Export the model of one round, checked on that round's test pairs.

    Args:
        run: a `kpairs.Run`, trained on any backend.
        number: the round.
        path: name of the files, with the ending of one of the formats; the others get their own.
            Default `<run folder>/<arch>`.
        data_root: cache folder of the digit images.
        formats: keys of `FORMATS`.
        opset: version of the ONNX operators.

    Returns:
        One `Export` per format, in their order.

    Raises:
        InputError: no such round, or its model cannot be read.
        UsageError: an unknown format, a path with another ending; see also `export_model`.
        ParityError: see `export_model`.
        KpairsError: see `export_model`.
    """
    architecture_of_run(run)
    if odd := set(formats) - set(FORMATS):
        raise unknown("format", odd.pop(), FORMATS)
    stem = run.path / run.recipe.network.arch if path is None else _stem(Path(path), formats)
    recipe, (train_digits, test_digits) = run_splits(run, data_root)
    with compute("cpu"):
        trained = Trained.from_run(run, number, train_digits.classes, train_digits.settings)
        train_pairs, pairs = draw_round(recipe, number, train_digits, test_digits)
        wanted = [FORMATS[name](opset, train_pairs) for name in formats]
        return export_model(trained, pairs, stem, wanted)


def _stem(path: Path, formats: Iterable[str]) -> Path:
    endings = [FORMATS[name].ending for name in formats]
    for ending in sorted(endings, key=len, reverse=True):
        if path.name.endswith(ending) and path.name != ending:
            return path.with_name(path.name.removesuffix(ending))
    raise UsageError(f"{path}: expected a file name that ends in {' or '.join(endings)}")


def export_model(
    trained: Trained, pairs: PairSet, stem: str | Path, formats: Sequence[Format] = (Onnx(),)
) -> list[Export]:
    """Write one file per format, each checked against the Keras model before it takes its name.

    Every file has inputs `left` and `right`, `(batch, height, width, channels)` float32 pixels in
    [0, 1] with any batch, the architecture's outputs in registered order, its weights, and JSON
    that says what the outputs mean and how a picture becomes an input: in ONNX the metadata
    "kpairs", in the others the extra file "kpairs.json".

    Args:
        trained: the model, and what it was made and trained by.
        pairs: on which the files must agree with the model.
        stem: path of the files without their ending.
        formats: what to write, `kpairs.exports.formats.Onnx()` and others.

    Returns:
        One `Export` per format, in their order.

    Raises:
        UsageError: another backend than torch, or an opset that torch's exporter does not write or
            onnxruntime does not run; int8 without pairs to calibrate on.
        ParityError: a file disagrees with the model. Whatever is raised before all files are
            checked, nothing is written and older files are left as they were.
        KpairsError: no folder to write to, or one in a file's place.
        OSError: a file cannot be written.
    """
    if keras.backend.backend() != "torch":
        raise UsageError(
            f"export: expected KERAS_BACKEND=torch, received {keras.backend.backend()}; a run "
            "trained on another backend can be exported under torch"
        )
    for format_ in formats:
        format_.check()
    paths = [Path(f"{stem}{format_.ending}") for format_ in formats]
    _check_places(place for path in paths for place in _places(path))
    description = trained.description(pairs)
    exports = []
    with ExitStack() as files:
        for format_, path in zip(formats, paths, strict=True):
            # The last file entered is the first that takes its name: a model never stands beside
            # the description of a later one.
            card_file, sidecar_file, file = (
                files.enter_context(atomic_path(place)) for place in _places(path)
            )
            written = format_.export(trained, pairs, description, file)
            own = {**written.description, "file": path.name, "format": format_.name}
            own |= {**_size_and_digest(file), **written.facts}
            if written.parity:
                own["parity"] = vars(written.parity)
            if written.quantization:
                own["quantization"] = vars(written.quantization)
            exports.append(Export(format_.name, path, own, written.parity, written.quantization))
            sidecar_file.write_text(json.dumps(own, indent=2) + "\n")
            card_file.write_text(card(exports[-1]), encoding="utf-8")
        for export in exports:
            for place in _places(export.path)[:2]:  # neither may stand beside another model
                place.unlink(missing_ok=True)
    return exports


def _places(path: Path) -> tuple[Path, Path, Path]:
    """The card, the description and the file itself."""
    return path.with_name(f"{path.name}.md"), sidecar_path(path), path


def _check_places(places: Iterable[Path]) -> None:
    """Refuse what cannot be written before any work, and before an older file is touched."""
    for place in places:
        if not place.parent.is_dir():
            raise KpairsError(f"{place.parent}: expected a folder to write to, received none")
        if place.is_dir():
            raise KpairsError(f"{place}: expected a file to write, received a folder")


def _size_and_digest(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
