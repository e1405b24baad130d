"""The columns of a CSV file of compared pairs, by name; what they hold says `kpairs.data.listed`.

Nothing is imported here, so that the command line can check names at once.
"""

from kpairs.errors import UsageError, unknown

COLUMNS = (
    *("left", "right", "label", "winner", "probability"),
    *("weight", "split", "left_grade", "right_grade"),
)


def parse_columns(text: str) -> dict[str, str]:
    """Read the headers of a file by the names in `COLUMNS`: "left=image_0,label=label_1".

    Raises:
        UsageError: text of another form, or a name that is not in `COLUMNS`.
    """
    columns = {}
    for part in text.split(","):
        name, equals, own = (piece.strip() for piece in part.partition("="))
        if not (equals and own):
            raise UsageError(
                f"columns: expected headers such as left=image_0,right=image_1, received {text!r}"
            )
        if name not in COLUMNS:
            raise unknown("column", name, COLUMNS)
        columns[name] = own
    return columns
