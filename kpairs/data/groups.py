"""Groups of images that belong together, such as a burst's or a patient's, by their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.errors import InputError, UsageError

FOLDER = "folder"


def name_groups(files: Sequence[str | Path], by: str) -> tuple[str, ...]:
    """Return the name of each file's group.

    Args:
        files: paths.
        by: "folder", or a regular expression that is searched for in a file's name, in its whole
            path if the expression contains a slash. The group is the expression's first group of
            parentheses, or all that it matches. A file that it does not match is a group of its
            own, "".

    Raises:
        UsageError: no regular expression.
        InputError: the expression matches no file.

    Example:
        >>> name_groups(["a/anna-1.png", "a/anna-2.png", "a/x.png"], "(.*)-[0-9]")
        ('anna', 'anna', '')
    """
    if by == FOLDER:
        return tuple(os.path.dirname(os.path.abspath(file)) for file in files)
    try:
        expression = re.compile(by)
    except re.error as error:
        raise UsageError(
            f"group: expected folder or a regular expression, received {by!r}: {error}"
        ) from error
    texts = [os.fspath(file) if "/" in by else os.path.basename(file) for file in files]
    found = [expression.search(text) for text in texts]
    if texts and not any(found):
        raise InputError(f"group: {by!r} matches none of {len(texts):,} names, such as {texts[0]}")
    index = min(expression.groups, 1)
    return tuple((match[index] or "") if match else "" for match in found)


def number_groups(names: Sequence[str]) -> NDArray[np.int64]:
    """Return `(n,)` numbers of groups by their names; an image without a name is alone."""
    number: dict[str, int] = {}
    return np.array(
        [number.setdefault(name or f"\0{i}", len(number)) for i, name in enumerate(names)],
        np.int64,
    )


def best_of_groups(
    rows: Iterable[Mapping[str, Any]], group: Mapping[str, str], top: int | None = None
) -> list[dict[str, Any]]:
    """Return ranked images group by group, with `group`, and `rank` within it.

    The rows are highest first, with `file`, `score` and `rank`; a file that is alone has the group
    "". `top` is how many of each group; None for all.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name = group[row["file"]]
        within = found.setdefault(name or f"\0{row['file']}", [])
        rank = 1 + sum(one["score"] > row["score"] for one in within)
        within.append({**row, "rank": rank, "group": name})
    return [row for within in found.values() for row in within[:top]]
