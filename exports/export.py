"""From a trained model to checked files, each with a description and a model card beside it."""

import hashlib
import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import keras
import onnxruntime

import kpairs
from kpairs.data.settings import DIGITS
from kpairs.errors import InputError, KpairsError, UsageError
from kpairs.exports import torch_files
from kpairs.exports.card import card
from kpairs.exports.int8 import Quantization, write_int8
from kpairs.exports.loading import sidecar_path
from kpairs.exports.onnx import OPSET, to_proto, write_proto
from kpairs.exports.parity import Parity, check_parity, errors_pct
from kpairs.exports.runtime import PairModel
from kpairs.files import atomic_path
from kpairs.models.registry import trainable_parameters
from kpairs.networks import ARCHS, build
from kpairs.training.compile import check_run, load_round
from kpairs.training.device import compute
from kpairs.training.draw import draw_round
from kpairs.training.images import load_splits

# What the files of each format end in.
FORMATS = {"onnx": ".onnx", "torchscript": ".pt", "torch-export": ".pt2", "int8": ".int8.onnx"}


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
    description: dict
    parity: Parity | None = None
    quantization: Quantization | None = None


def export_run(run, number=1, path=None, data_root=None, formats=("onnx",), opset=OPSET):
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
        The `Export`s, in the order of `formats`.

    Raises:
        InputError: no such round, or its model cannot be read.
        Others: see `export_model`.
    """
    check_run(run)
    recipe = run.recipe
    stem = run.path / recipe.arch if path is None else _stem(Path(path), formats)
    splits = load_splits(recipe, data_root)
    classes = splits[0].classes
    with compute("cpu"):
        model = load_round(run, number, len(classes))
        train_pairs, pairs = draw_round(recipe, number, *splits, augment=False)
        training = {
            "data": recipe.data,
            "pairs": recipe.pairs,
            "epochs": recipe.epochs,
            "seed": recipe.seed,
            "round": number,
            "backend": run.environment["backend"],
        }
        return export_model(
            model,
            ARCHS[recipe.arch],
            classes,
            pairs,
            stem,
            formats,
            rescaling=run.row(number)["rescaling"],
            options=recipe.build_options,
            opset=opset,
            training=training,
            calibration=train_pairs,
            pixels=splits[0].settings,
        )


def _stem(path, formats):
    endings = [FORMATS[name] for name in formats]
    for ending in sorted(endings, key=len, reverse=True):
        if path.name.endswith(ending) and path.name != ending:
            return path.with_name(path.name.removesuffix(ending))
    raise UsageError(f"{path}: expected a file name that ends in {' or '.join(endings)}")


def export_model(
    model,
    architecture,
    classes,
    pairs,
    stem,
    formats=("onnx",),
    *,
    rescaling=None,
    options=None,
    opset=OPSET,
    training=None,
    calibration=None,
    pixels=DIGITS,
):
    """Write one file per format, each checked against the Keras model before it takes its name.

    Every file has inputs `left` and `right`, `(batch, height, width, channels)` float32 pixels in
    [0, 1] with any batch, the architecture's outputs in registered order, its weights, and JSON
    that says what the outputs mean and how a picture becomes an input: in ONNX the metadata
    "kpairs", in the others the extra file "kpairs.json".

    Args:
        model: the trained Keras model, on the torch backend.
        architecture: its `kpairs.models.registry.Architecture`.
        classes: class names in rank order.
        pairs: a `PairSet` on which the files must agree with the model.
        stem: path of the files without their ending.
        formats: keys of `FORMATS`.
        rescaling, options: with which the model was built, see `kpairs.models.registry.build`.
        opset: version of the ONNX operators.
        training: what the model was trained on, a JSON-ready dict for the description.
        calibration: for int8, a `PairSet` that shows the range of every value.
        pixels: the `PixelSettings` of the images that the model was trained on.

    Returns:
        The `Export`s, in the order of `formats`.

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
    if "int8" in formats and calibration is None:
        raise UsageError("int8: expected pairs to calibrate on, received none")
    paths = [Path(f"{stem}{FORMATS[name]}") for name in formats]
    _check_places([place for path in paths for place in _places(path)])
    kinds = architecture.named((options or {}).get("word", "digit"))
    names = list(kinds)
    twin = build(architecture.name, len(classes), rescaling, fold=True, **options or {})
    twin.set_weights(model.get_weights())
    module = torch_files.Named(twin, names).eval()
    program = proto = None
    if set(formats) != {"torchscript"}:
        program = torch_files.to_program(module)
    if {"onnx", "int8"} & set(formats):
        proto = to_proto(program, names, opset)
    description = _describe(model, architecture, kinds, classes, pairs, rescaling, training, pixels)
    exports = []
    with ExitStack() as files:
        for name, path in zip(formats, paths, strict=True):
            # The last file entered is the first that takes its name: a model never stands beside
            # the description of a later one.
            card_file, sidecar_file, file = (
                files.enter_context(atomic_path(place)) for place in _places(path)
            )
            loaded = _write(name, file, json.dumps(description), module, program, proto)
            parity, quantization, own = check_parity(model, loaded, pairs), None, description
            if name == "int8":
                own, quantization = write_int8(file, description, calibration, pairs)
                parity = None
            full = {**own, "file": path.name, "format": name, **_size_and_digest(file)}
            if path.suffix == ".onnx":
                full["opset"] = opset
            if name == "onnx":
                full["nodes"] = len(proto.graph.node)
            if parity:
                full["parity"] = vars(parity)
            if quantization:
                full["quantization"] = vars(quantization)
            export = Export(name, path, full, parity, quantization)
            sidecar_file.write_text(json.dumps(export.description, indent=2) + "\n")
            card_file.write_text(card(export), encoding="utf-8")
            exports.append(export)
        for export in exports:
            sidecar_path(export.path).unlink(missing_ok=True)
    return exports


def _places(path):
    """The card, the description and the file itself."""
    return path.with_name(f"{path.name}.md"), sidecar_path(path), path


def _check_places(places):
    """Refuse what cannot be written before any work, and before an older file is touched."""
    for place in places:
        if not place.parent.is_dir():
            raise KpairsError(f"{place.parent}: expected a folder to write to, received none")
        if place.is_dir():
            raise KpairsError(f"{place}: expected a file to write, received a folder")


def _write(name, file, metadata, module, program, proto):
    """Write one file under its temporary name, and load it again."""
    if name == "torchscript":
        torch_files.write_torchscript(module, metadata, file)
        return torch_files.load_torchscript(file)
    if name == "torch-export":
        torch_files.write_program(program, metadata, file)
        return torch_files.load_program(file)
    write_proto(proto, metadata, file)
    try:
        return PairModel.load(file)
    except InputError as error:
        raise UsageError(
            f"opset: expected one that onnxruntime {onnxruntime.__version__} runs, such as "
            f"{OPSET}; received {proto.opset_import[0].version}: "
            f"{str(error).removeprefix(f'{file}: ')}"
        ) from error


def _size_and_digest(file):
    data = file.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _describe(model, architecture, kinds, classes, pairs, rescaling, training, pixels):
    expected = model.predict(pairs.inputs(), batch_size=len(pairs), verbose=0)
    shape = ", ".join(map(str, pixels.shape))
    inside = "none" if rescaling is None else "inside the model: {:.9g} * pixel + {:.9g}"
    return {
        "kpairs": kpairs.__version__,
        "arch": architecture.name,
        "report": architecture.report,
        "source": architecture.source,
        "parameters": trainable_parameters(model),
        "input": f"left and right: float32 pixels in [0, 1], shape (batch, {shape})"
        + (", bright on dark" if pixels.always_bright else ""),
        "pixel_range": [0.0, 1.0],
        "pixels": pixels.to_dict(),
        "pictures": str(pixels),
        "preprocessing": inside.format(*rescaling or ()),
        "outputs": kinds,
        "classes": list(classes),
        "label": "comparison class 1 means left <= right in the order of classes",
        "test_pairs": len(pairs),
        "test_error_pct": errors_pct(expected, kinds, pairs),
        "training": training,
    }
