"""Lists of images that people ranked, as compared pairs.

A table has the columns `image`, `rank` (1 is the highest; equal ranks tie) and `group`, the list
that an image stands in; it may have `judge`, `split` and `weight`. Every two images of a list
become a pair, which trains every network and every loss, and needs no lists of equal length, as
ListMLE does. A list of n images counts as n - 1 pairs, which is how many choices it tells. Lists
that share no image are groups: all of a list is in one split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

from kpairs.data.annotations import Columns
from kpairs.data.table import Header, number
from kpairs.errors import InputError

_HEADER = ("left", "right", "label", "weight")
_KEPT = ("judge", "split")  # of a list, if the table has them


def are_lists(columns: Columns) -> bool:
    """Tell whether a table with these columns is one of ranked lists."""
    named = all(name in columns for name in ("image", "rank", "group"))
    return named and not columns.among(("left", "right", "grade", "score"))


def pairs_of_lists(
    table: Iterable[tuple[int, Sequence[str]]], columns: Columns, path: Path
) -> Iterator[tuple[int, list[str]]]:
    """Yield the pairs of ranked lists as rows of a table of compared pairs, the header first.

    Sides take turns, so that a side tells nothing of who ranks higher.

    Args:
        table: rows and cells.
        columns: of the table.
        path: the table, for messages.

    Yields:
        The row of a pair's second image, and the cells of the pair.

    Raises:
        InputError: a row without a list, or whose rank is no number; an image that stands in a list
            twice; weights or splits that differ within a list.
    """
    kept = [name for name in _KEPT if name in columns]
    lists: dict[tuple[str, str], list[tuple[int, str, float]]] = {}
    shared: dict[tuple[str, str], tuple[str, str]] = {}
    for row, cells in table:
        image, group, text = (columns.cell(cells, name) for name in ("image", "group", "rank"))
        rank = number(text)
        if not group or rank is None:
            wanted = "the list that the image stands in, in group" if not group else "a rank"
            raise InputError(f"{path} row {row}: expected {wanted}, received {text or 'nothing'!r}")
        key = (group, columns.cell(cells, "judge"))
        known = columns.cell(cells, "split"), columns.cell(cells, "weight")
        if shared.setdefault(key, known) != known:
            raise InputError(
                f"{path} row {row}: expected one split and one weight in the list {group}, "
                f"received {', '.join(filter(None, known)) or 'none'} after "
                f"{', '.join(filter(None, shared[key])) or 'none'}"
            )
        ranked = lists.setdefault(key, [])
        if any(image == other for _, other, _ in ranked):
            raise InputError(f"{path} row {row}: expected {image} once in the list {group}")
        ranked.append((row, image, rank))
    homes = {(image, key[0]) for key, ranked in lists.items() for _, image, _ in ranked}
    if len(homes) == len({image for image, _ in homes}):  # else lists share images
        kept.append("group")
    yield 1, Header([*_HEADER, *kept])
    for key, ranked in lists.items():
        split, weight = shared[key]
        each = 2 / len(ranked) * _weight(weight, path, ranked[0][0])
        tail = [{"judge": key[1], "split": split, "group": key[0]}[name] for name in kept]
        for turn, pair in enumerate(combinations(ranked, 2)):
            (_, left, of_left), (row, right, of_right) = pair if turn % 2 else pair[::-1]
            label = "tie" if of_left == of_right else "left" if of_left < of_right else "right"
            yield max(pair)[0], [left, right, label, repr(each), *tail]


def _weight(text: str, path: Path, row: int) -> float:
    value = number(text) if text else 1.0
    if value is None or value < 0:
        raise InputError(f"{path} row {row}: expected a weight of 0 or more, received {text}")
    return value
