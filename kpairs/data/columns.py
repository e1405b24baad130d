"""Names of the columns and words of tables that people made, and how a user tells their own.

Nothing heavy is imported here, so that the command line can check names at once.
"""

import csv

from kpairs.errors import UsageError, unknown

WORDS = ("left", "right", "tie")
REASONS = ("rule", "random", "repeat", "overlap")  # why kpairs asks about a pair
# Columns that say who ranks higher.
JUDGEMENTS = ("label", "winner", "left_wins", "right_wins")
COLUMNS = (
    *("left", "right", *JUDGEMENTS, "loser", "weight", "margin", "judge", "reason"),
    *("left_grade", "right_grade", "left_group", "right_group"),
    *("image", "grade", "score", "rank", "split", "group"),
)


def parse_columns(text: str) -> dict[str, str]:
    """Read the headers of a table by the names in `COLUMNS`: "left=image_0,right_wins=label_1".

    A header that holds a comma is quoted: `"left=first, of two",right=second`.

    Raises:
        UsageError: text of another form, a name that is not in `COLUMNS`, or one that stands twice.
    """
    columns: dict[str, str] = {}
    for name, header in _assignments(text, "columns", "left=image_0,right=image_1"):
        if name not in COLUMNS:
            raise unknown("column", name, COLUMNS)
        if name in columns:
            raise UsageError(f"columns: expected {name} once, received {text!r}")
        columns[name] = header
    return columns


def parse_words(text: str) -> dict[str, str]:
    """Read the words of a table for who ranks higher: "left=model_a,right=model_b,tie=equal".

    One of the three may have several words: "tie=equal,tie=both bad".

    Returns:
        "left", "right" or "tie" by word in lower case.

    Raises:
        UsageError: text of another form, another name than those three, or a word of two meanings.
    """
    words: dict[str, str] = {}
    for name, word in _assignments(text, "words", "left=model_a,right=model_b,tie=equal"):
        if name not in WORDS:
            raise unknown("word's meaning", name, WORDS)
        if words.setdefault(word.lower(), name) != name:
            raise UsageError(f"words: expected one meaning of {word!r}, received {text!r}")
    return words


def _assignments(text: str, what: str, example: str) -> list[tuple[str, str]]:
    parts = next(csv.reader([text], skipinitialspace=True), [])
    found = []
    for part in parts:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise UsageError(f"{what}: expected such as {example}, received {text!r}")
        found.append((name, value))
    if not found:
        raise UsageError(f"{what}: expected such as {example}, received {text!r}")
    return found
