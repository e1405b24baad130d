"""Numbers that differ beside the authors' own code: its interval, and whose difference it is."""

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
