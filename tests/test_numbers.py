"""How numbers are printed."""

import math

import pytest

from kpairs.cli.image_tables import ranking_table
from kpairs.numbers import decimals


@pytest.mark.parametrize(
    ("deviations", "places"),
    [
        ([6.4, 6.3, 0.4], 1),
        ([0.042], 3),
        ([25.0], 0),
        ([0.0], 2),
        ([math.nan], 2),
        ([math.inf], 2),
        ([], 2),
    ],
)
def test_two_digits_of_a_deviation_are_shown(deviations, places):
    assert decimals(deviations) == places


def test_scores_of_a_ranking_have_the_same_decimals():
    scores = {13.263: 6.42, 8.9221: 4.01, 0.1: 0.22}
    rows = [
        {"rank": i, "file": f"{i}.png", "score": score, "deviation": scores[score]}
        for i, score in enumerate(scores)
    ]
    cells = [*ranking_table(rows, "").columns[2].cells]
    assert cells == ["13.3 ± 6.4", "8.9 ± 4.0", "0.1 ± 0.2"]


def test_small_scores_without_standard_errors_are_told_apart():
    rows = [{"rank": i, "file": "", "score": score} for i, score in enumerate((0.0034, 0.0012))]
    assert [*ranking_table(rows, "").columns[2].cells] == ["0.003400", "0.001200"]
