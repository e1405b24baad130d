"""Ours beside what the authors' own code gives on the pairs of the same rounds.

`docs/experiments/authors_code.py` trains it. A number that differs though their code gives on our
pairs what kpairs gives is one of the luck of draws, not of kpairs.
"""

import pandas as pd
from scipy import stats

from kpairs.studies.compare import CONFIDENCE

KEYS = ["arch", "setting", "metric"]
COLUMNS = [*KEYS, "authors", "authors_std", "authors_rounds", "apart", "apart_low", "apart_high"]
_FEWEST = 3  # rounds, for an interval that means something


def beside(values: pd.DataFrame, authors: pd.DataFrame) -> pd.DataFrame:
    """Hold our values against their code's, number by number.

    Args:
        values: of `kpairs.studies.compare.measured`, from our rows.
        authors: the same, from the rows of their code.

    Returns:
        A `DataFrame` of arch, setting, metric, `authors`, `authors_std` and `authors_rounds` (of
        their code, in the rounds that both have), `apart` (ours minus theirs, the mean over these
        rounds) and its 95 % interval `apart_low` to `apart_high` (Student's t; NaN of fewer than
        three rounds); in the metric's unit.
    """
    keys = [*KEYS, "variant", "round"]
    both = values[[*keys, "value"]].merge(
        authors[[*keys, "value"]], on=keys, suffixes=("", "_authors")
    )
    both = both.assign(apart=both["value"] - both["value_authors"])
    frame = (
        both[both["variant"] == ""]
        .groupby(KEYS, sort=False)
        .agg(
            authors=("value_authors", "mean"),
            authors_std=("value_authors", "std"),
            authors_rounds=("round", "count"),
            apart=("apart", "mean"),
            error=("apart", "sem"),
        )
        .reset_index()
    )
    count = frame["authors_rounds"].where(frame["authors_rounds"] >= _FEWEST)
    half = frame.pop("error") * stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
    frame = frame.assign(apart_low=frame["apart"] - half, apart_high=frame["apart"] + half)
    return frame[COLUMNS]


def table(rows: pd.DataFrame, authors: pd.DataFrame) -> pd.DataFrame:
    """Test error of ours minus theirs in points: settings by the rounds that all of them have.

    Args:
        rows: ours, of any studies.
        authors: theirs.
    """
    keys = ["arch", "setting", "round"]
    both = rows.merge(authors, on=keys, suffixes=("", "_authors"))
    both["apart"] = both["test_error_pct"] - both["test_error_pct_authors"]
    return both.pivot_table(index=keys[:2], columns=keys[2], values="apart").dropna(axis="columns")
