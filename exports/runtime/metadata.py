"""The text inside an exported file that describes it, read and held against the file itself."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from kpairs.data.settings import PixelSettings
from kpairs.data.words import OF_CLASS
from kpairs.errors import InputError, raised_as
from kpairs.judging.reference import Reference, thumbnails
from kpairs.models.outputs import OUTPUT_KINDS

METADATA_KEY, REFERENCE_KEY = "kpairs", "kpairs_reference"
_WIDEST = 2**20  # features of an image


def pixels_of(metadata: Mapping[str, Any]) -> PixelSettings:
    """Return the settings in a file's metadata."""
    return PixelSettings.from_dict(metadata["pixels"])


def read_metadata(session: onnxruntime.InferenceSession, path: str | Path) -> dict[str, Any]:
    """Return the description of a file; InputError tells of one that no export writes."""
    try:
        # Text that is no UTF-8 is found here.
        metadata = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        good = _describes(metadata, session)
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError):
        good = False
    if not good:
        raise InputError(
            f"{path}: expected a pair model written by 'kpairs export' (inputs left and right, "
            "metadata that names its outputs), received another ONNX model"
        )
    return dict(metadata)


def read_reference(
    session: onnxruntime.InferenceSession, metadata: Mapping[str, Any], path: str | Path
) -> Reference | None:
    """Return what a file knows of its training images; None where it has nothing."""
    text = session.get_modelmeta().custom_metadata_map.get(REFERENCE_KEY)
    if text is None:
        return None
    with raised_as(InputError, str(path)):
        found = Reference.from_text(text)
        width = len(thumbnails(np.zeros((1, *pixels_of(metadata).shape), np.float32))[0])
        width = (metadata.get("features") or {"width": width})["width"]
        if len(found.centre) != width:
            raise ValueError(f"expected {width} features, received {len(found.centre)}")
        if not len(found.scores) and set(metadata["outputs"]) & {"left_score", *OF_CLASS}:
            raise ValueError("expected the scores of training images")
    return found


def _check_entries(metadata: Mapping[str, Any]) -> None:
    """Refuse by any error values that exports never write, in entries that answers depend on."""
    temperature, known = metadata.get("temperature", 1.0), metadata.get("features")
    good = isinstance(temperature, int | float) and 1e-3 < temperature < 1e3  # NaN is neither
    if known is not None:
        good &= all(isinstance(known[name], str) for name in ("tensor", "weights", "offset"))
        good &= type(known["width"]) is int and 0 < known["width"] <= _WIDEST
        good &= re.fullmatch("[0-9a-f]{64}", known["digest"]) is not None  # it names a folder
    if not metadata.get("beats_chance", True):
        error, pairs = metadata["test_error_pct"]["comparison"], metadata["test_pairs"]
        good &= 0 <= error <= 100 and type(pairs) is int
    training = metadata.get("training") or {"data": ""}
    if not good or not isinstance(training.get("data", ""), str):
        raise ValueError("entries that no export writes")


def _describes(metadata: Mapping[str, Any], session: onnxruntime.InferenceSession) -> bool:
    """Return whether metadata and file agree on names, kinds, types and shapes of all values."""
    classes, outputs = metadata["classes"], metadata["outputs"]
    of_class = [name for name in outputs if name in OF_CLASS]
    widths = {name: len(classes) for name in of_class}
    widths |= {name: 1 for name, kind in outputs.items() if kind in ("score", "sigmoid")}
    widths["comparison"] = 1 if outputs["comparison"] == "sigmoid" else 2
    given = {value.name: value for value in (*session.get_inputs(), *session.get_outputs())}
    shapes = {name: list(pixels_of(metadata).shape) for name in ("left", "right")}
    shapes |= {name: [width] for name, width in widths.items()}
    _check_entries(metadata)
    return (
        isinstance(metadata["arch"], str)
        and all(text.isprintable() for text in (metadata["arch"], *classes, *outputs))
        and len(classes) > (1 if of_class else -1)
        and all(isinstance(name, str) for name in classes)
        and all(kind in OUTPUT_KINDS for kind in outputs.values())
        and [value.name for value in session.get_inputs()] == ["left", "right"]
        and [value.name for value in session.get_outputs()] == list(outputs)
        and all(v.type == "tensor(float)" for v in given.values())
        and all(list(given[name].shape[1:]) == shape for name, shape in shapes.items())
    )
