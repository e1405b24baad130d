"""Names of the outputs that tell an image's class, by a source's word for one: digit or grade."""

# Left first; other outputs than these tell something else.
OF_CLASS = ("left_digit", "right_digit", "left_grade", "right_grade")


def output_name(name: str, word: str) -> str:
    """Return an output's name by a word for a class: `left_digit` is `left_grade` by "grade"."""
    return f"{name.partition('_')[0]}_{word}" if name in OF_CLASS else name
