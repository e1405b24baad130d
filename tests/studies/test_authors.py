"""Numbers that differ beside the authors' own code: its interval, and whose difference it is."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kpairs.studies.catalogue import STUDIES
from kpairs.studies.results import Results
from kpairs.studies.rows import COLUMNS, write_rows

STUDY = STUDIES["piguet-table-2"]
(SETTING,) = (s for s in STUDY.settings if s.name == "c3l2 aux_1")  # reported 17.3 ± 1.83 (20)


def _write(path, errors, collapsed=()):
    rows = [
        {
            "job": SETTING.trial(number).id,
            "arch": SETTING.recipe.arch,
            "setting": SETTING.setting,
            "round": number,
            "test_error_pct": error,
            "collapsed": int(number in collapsed),
        }
        for number, error in enumerate(errors, 1)
    ]
    write_rows(path, pd.DataFrame(rows).reindex(columns=COLUMNS))


def _differing(folder, ours, theirs=None, **collapsed):
    _write(folder / f"{STUDY.name}.csv", ours)
    if theirs is not None:
        _write(folder / f"{STUDY.name}-authors.csv", theirs, **collapsed)
    results = Results(folder, ["piguet"])
    (row,) = results.differing(results.numbers).itertuples()
    return row


@pytest.mark.parametrize(
    ("centre", "blame"), [(14.0, "report"), (17.3, "kpairs"), (20.0, "kpairs"), (12.0, "kpairs")]
)
def test_whose_difference_it_is(tmp_path, rng, centre, blame):
    """Ours at 14, far from the report's 17.3: theirs with ours, with the report, or elsewhere."""
    ours, theirs = (np.round(rng.normal(mean, 0.5, 20), 1) for mean in (14.0, centre))
    row = _differing(tmp_path, ours, theirs[:12])
    assert row.blame == blame
    assert row.authors_rounds == 12
    assert (row.authors, row.authors_std) == pytest.approx(
        (theirs[:12].mean(), theirs[:12].std(ddof=1))
    )
    interval = stats.ttest_ind(ours, theirs[:12], equal_var=False).confidence_interval(0.95)
    assert (row.apart_low, row.apart_high) == pytest.approx(interval)


def test_collapsed_trainings_stand_beside_the_interval(tmp_path, rng):
    ours, theirs = (np.round(rng.normal(14, 0.5, 8), 1) for _ in range(2))
    theirs[[1, 4]] = 45.2
    row = _differing(tmp_path, ours, theirs, collapsed=(2, 5))
    assert (row.authors_collapsed, row.authors_rounds) == (2, 8)
    assert row.authors == pytest.approx(theirs.mean())
    sound = stats.ttest_ind(ours, np.delete(theirs, [1, 4]), equal_var=False)
    assert (row.apart_low, row.apart_high) == pytest.approx(sound.confidence_interval(0.95))
    assert row.blame == ""  # what all eight give is not told from the report


@pytest.mark.parametrize("count", [0, 4])
def test_few_trainings_of_their_code_say_nothing(tmp_path, rng, count):
    ours = np.round(rng.normal(14, 0.5, 8), 1)
    row = _differing(tmp_path, ours, ours[:count] if count else None)
    assert row.blame == ""
    assert np.isnan(row.apart_low)
    assert np.nan_to_num(row.authors_rounds) == count


def test_trainings_of_the_same_start_are_compared_one_by_one(tmp_path):
    ours, theirs = np.array([14, 15, 45, 16, 44, 17.5]), np.array([14.5, 14, 45, 16.5, 15, 45.5])
    _write(tmp_path / f"{STUDY.name}.csv", ours, collapsed=(3, 5))
    assert Results(tmp_path, ["piguet"]).same_start(STUDY.name) is None
    _write(tmp_path / f"{STUDY.name}-same-start.csv", theirs, collapsed=(3, 6))
    found = Results(tmp_path, ["piguet"]).same_start(STUDY.name)
    assert (found.trainings, found.settings) == (6, 1)
    assert (found.ours, found.theirs, found.both) == (2, 2, 1)
    assert (found.mean, found.apart) == pytest.approx((0, 2 / 3))
    interval = stats.ttest_rel(ours[[0, 1, 3]], theirs[[0, 1, 3]]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(interval)


def test_the_authors_code_ends_as_ours_from_the_same_start():
    """What report 000's page says of it, of the committed rows."""
    found = Results(Path(__file__).parents[2] / "docs" / "rows", ["piguet"]).same_start(STUDY.name)
    assert found.trainings >= 60
    assert found.low < 0 < found.high
    assert found.both >= 0.8 * max(found.ours, found.theirs) > 5
