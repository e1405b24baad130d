"""Numbers that differ, beside rounds drawn from ours and beside the authors' own code."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kpairs.studies.catalogue import STUDIES
from kpairs.studies.compare import judge, resampled
from kpairs.studies.results import Results
from kpairs.studies.rows import COLUMNS, write_rows

STUDY = STUDIES["piguet-table-2"]
(SETTING,) = (s for s in STUDY.settings if s.name == "c3l2 aux_1")  # reported 17.3 ± 1.83 (20)


def _write(path, errors, collapsed=()):
    rows = [
        {
            "job": SETTING.trial(number).id,
            "arch": SETTING.recipe.network.arch,
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
    ours = np.array([14, 15, 45, 16, 44, 17.5, 18, 19])
    theirs = np.array([14.5, 14, 45, 16.5, 15, 45.5, 18.5, 18.5])
    _write(tmp_path / f"{STUDY.name}.csv", ours, collapsed=(3, 5))
    assert Results(tmp_path, ["piguet"]).same_start(STUDY.name) is None
    _write(tmp_path / f"{STUDY.name}-same-start.csv", theirs[:7], collapsed=(3, 6))
    assert Results(tmp_path, ["piguet"]).same_start(STUDY.name) is None
    _write(tmp_path / f"{STUDY.name}-same-start.csv", theirs, collapsed=(3, 6))
    found = Results(tmp_path, ["piguet"]).same_start(STUDY.name)
    assert (found.trainings, found.settings) == (8, 1)
    assert (found.ours, found.theirs, found.both) == (2, 2, 1)
    assert (found.mean, found.apart) == pytest.approx((0, 0.6))
    sound = [0, 1, 3, 6, 7]
    interval = stats.ttest_rel(ours[sound], theirs[sound]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(interval)


def test_the_authors_code_ends_as_ours_from_the_same_start():
    """What the README and report 000's page say of it, of the committed rows."""
    docs = Path(__file__).parents[2] / "docs"
    found = Results(docs / "rows", ["piguet"]).same_start(STUDY.name)
    assert found.trainings >= 60
    assert found.low < 0 < found.high
    assert found.both >= 0.8 * max(found.ours, found.theirs) > 5
    readme = " ".join((docs.parent / "README.md").read_text().split())
    assert f"ends {found.apart:.1f} points from ours on average" in readme
    assert f"in {found.both} of the {found.ours} in which ours does" in readme


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("p_value", [0.004, 0.03, 0.2])
def test_resampled_chances_are_exact_of_two_outcomes(p_value, stated):
    """30 rounds of which 9 collapse, and 5 of a report: binomials say what the test then finds."""
    values = np.repeat([0.0, 50.0], [21, 9])

    def sample(collapsed, count):
        share = collapsed / count
        return 50 * share, 50 * (share * (1 - share) * count / (count - 1)) ** 0.5, count

    exact = 0.0
    for mine, theirs in np.ndindex(31, 6):
        ours, others = sample(mine, 30), sample(theirs, 5)
        if stated:
            found = stats.ttest_ind_from_stats(*ours, *others, equal_var=False).pvalue
        else:
            error = ours[1] * (1 / 30 + 1 / 5) ** 0.5
            found = 2 * stats.t.sf(abs(ours[0] - others[0]) / error, 29) if error else 1
        chance = stats.binom.pmf(mine, 30, 0.3) * stats.binom.pmf(theirs, 5, 0.3)
        exact += chance * (found <= p_value)
    assert resampled(values, 5, stated, p_value) == pytest.approx(exact, abs=0.015)
    assert np.isnan(resampled(values[:19], 5, stated, p_value))


def test_collapsed_trainings_make_welchs_test_see_differences_and_not_the_resampled_one(rng):
    """Ours and a report's from one world, in which one training of five collapses."""
    found = np.zeros(2)
    for _ in range(150):
        ours, theirs = (np.where(rng.random(n) < 0.2, 48, rng.normal(20, 2, n)) for n in (40, 5))
        stated = theirs.mean(), theirs.std(ddof=1), len(theirs), 2
        welch = judge(ours.mean(), ours.std(ddof=1), len(ours), *stated)["p_value"][0]
        found += np.array([welch, resampled(ours, 5, True, welch)]) < 0.05
    assert found[0] > 0.2 * 150
    assert found[1] < 0.1 * 150
