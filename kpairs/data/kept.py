"""The list of images that a run was trained and tested on, kept in its folder.

A run goes on, and is evaluated, by its own list: images that are added to a folder later, or rows
that are appended to a table, change neither its training nor its test images.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from kpairs.data.listing import fingerprint, list_images
from kpairs.data.source import Source, open_source
from kpairs.data.table import read_table
from kpairs.errors import InputError, UsageError
from kpairs.files import read_json, write_json, write_text

log = logging.getLogger(__name__)

# Lines of JSON hold any file name; CSV in UTF-8 does not.
_LIST, _FACTS, _FEATURES = "data.jsonl", "data.json", "features.npz"


def keep(source: Source, folder: Path) -> None:
    """Write a source's list, and the facts that tell whether it changed, into a run's folder."""
    place = Path(source.name)
    base = Path(os.path.realpath(place.parent if place.is_file() else place))  # as files' are
    names = source.fingerprints(base) if source.vectors is None else {}
    if any(name.startswith(os.pardir) for name in names):  # elsewhere: by the folder they share
        folders = {os.path.dirname(os.path.normpath(base / name)) for name in names}
        base = Path(os.path.commonpath(folders))
    facts: dict[str, object] = {"source": source.name, "digest": source.digest()}
    facts["classes"] = list(source.classes)
    rows = source.rows(base)
    if rows is not None:
        write_text(folder / _LIST, "".join(f"{json.dumps(row)}\n" for row in rows))
        facts["files"] = source.fingerprints(base)
        if source.vectors is None:
            facts |= {"base": str(base), "stamp": _stamp(place)}
        else:
            source.vectors.save(folder / _FEATURES)
    write_json(folder / _FACTS, facts)


def open_kept(
    folder: Path,
    reopen: Callable[[str | None], Source],
    now: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    root: str | Path | None = None,
) -> Source:
    """Open the images of a run by its own list.

    Where a run keeps none, as of named sources, `reopen` opens the recipe's source, or the one at
    another place. `now` is where the images are now, by default where they were. An InputError for
    images that are gone or are others says what to do.
    """
    if not (folder / _FACTS).is_file():
        return reopen(None if now is None else str(now))
    facts = _facts(folder)
    if (own := kept_features(folder)) is not None:
        if now is not None:
            raise UsageError(f"{folder}: this run keeps its features and pairs; expected no --data")
        source = open_source(folder / _LIST, images=own, classes=classes, root=root)
        source.read_by, source.name = {}, facts["source"]
        return source
    if "base" not in facts:
        source = reopen(None if now is None else str(now))
        if source.digest() != facts["digest"]:
            raise InputError(
                f"{source.name}: its images are not those that {folder} was trained on; put those "
                "back, or say where they are: --data FOLDER"
            )
        return source
    place = Path(facts["base"])
    if now is not None:
        place = Path(os.path.realpath(Path(now).parent if Path(now).is_file() else now))
    _check_there(place, facts["files"], folder)
    if now is None:
        _say_what_is_new(Path(facts["source"]), facts.get("stamp"))
    source = open_source(folder / _LIST, images=place, classes=classes, root=root)
    source.read_by = {}  # by the recipe's own columns and words, not by those of the list
    source.name = facts["source"] if now is None else str(Path(now).absolute())
    return source


def holds_images(folder: Path, data: str | Path) -> bool:
    """Tell whether a folder or table is a run's own, which may have moved.

    All of the run's images are there by their names, and most of them are unchanged.
    """
    facts, data = kept_facts(folder), Path(data)
    if not facts.get("files") or not data.exists():
        return False
    files, place = facts["files"], data if data.is_dir() else data.parent
    same_name = data.is_dir() or data.name == Path(facts["source"]).name
    if not same_name or not all((place / name).is_file() for name in files):
        return False
    same = sum(fingerprint(place / name) == known for name, known in files.items())
    return 2 * same > len(files)


def trained_on(folder: Path) -> set[str]:
    """Return the fingerprints of a run's training images; none of digits."""
    files: dict[str, str] = kept_facts(folder).get("files", {})
    if not files:
        return set()
    (_, header), *lines = read_table(folder / _LIST, "images")
    cells = [dict(zip(header, row, strict=True)) for _, row in lines]
    rows = [row for row in cells if row.get("split", "train") == "train"]
    names = (row.get(name) for row in rows for name in ("image", "left", "right"))
    return {files[name] for name in names if name in files}


def kept_features(folder: Path) -> Path | None:
    """Return the run's copy of its file of features; None where it learned from images."""
    file = folder / _FEATURES
    return file if file.is_file() else None


def kept_facts(folder: Path) -> dict[str, Any]:
    """Return `digest` and `classes` of a run's images; {} for a run of an earlier version."""
    return _facts(folder) if (folder / _FACTS).is_file() else {}


def _facts(folder: Path) -> dict[str, Any]:
    facts = read_json(folder / _FACTS, "list of images")
    if not (isinstance(facts, dict) and _are_texts(facts.get(n) for n in ("source", "digest"))):
        raise InputError(f"{folder / _FACTS}: expected the facts of a run's images")
    classes, base, files = facts.get("classes", []), facts.get("base"), facts.get("files")
    listed = isinstance(files, dict) and _are_texts([base, *files.values()])
    if not isinstance(classes, list) or not _are_texts(classes) or ("base" in facts and not listed):
        raise InputError(f"{folder / _FACTS}: expected a run's images and their fingerprints")
    return facts


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _check_there(place: Path, files: dict[str, str], folder: Path) -> None:
    """Refuse a place without the run's images; say how many have changed."""
    missing = [name for name in files if not (place / name).is_file()]
    if missing:
        raise InputError(
            f"{place}: {len(missing):,} of the {len(files):,} images of {folder} are not there, "
            f"such as {missing[0]}; put them back, or say where they are now: --data FOLDER"
        )
    changed = [name for name, known in files.items() if fingerprint(place / name) != known]
    if changed:
        log.warning(
            "%s: %s of the %s images have changed since %s was trained, such as %s",
            *(place, f"{len(changed):,}", f"{len(files):,}", folder, changed[0]),
        )


def _stamp(place: Path) -> str:
    """Return what tells whether a table has other rows, or a folder other images."""
    return fingerprint(place) if place.is_file() else str(len(list_images(place).files))


def _say_what_is_new(place: Path, stamp: object) -> None:
    if place.exists() and _stamp(place) != stamp:
        log.warning("%s has changed since the training; the run keeps to its own list", place)
