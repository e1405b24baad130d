"""Numbers that differ, beside rounds drawn from ours and beside the authors' own code."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kpairs.studies.catalogue import STUDIES
from kpairs.studies.compare import resampled
from kpairs.studies.pages import MethodPage
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


def _page(folder, ours, theirs, kind="authors", **collapsed):
    _write(folder / f"{STUDY.name}.csv", ours, **collapsed)
    _write(folder / f"{STUDY.name}-{kind}.csv", theirs)
    return MethodPage(Results(folder, ["piguet"]))


@pytest.mark.parametrize(("centre", "too"), [(14.0, True), (17.3, False), (20.0, False)])
def test_the_authors_code_is_compared_on_the_same_rounds(tmp_path, rng, centre, too):
    """Ours at 14, far from the report's 17.3: theirs with ours, with the report, or elsewhere."""
    ours, theirs = (np.round(rng.normal(mean, 0.5, 20), 1) for mean in (14.0, centre))
    page = _page(tmp_path, ours, theirs[:12])
    (row,) = page.authors(sound=True).itertuples()
    interval = stats.ttest_rel(ours[:12], theirs[:12]).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx(interval)
    assert row.too == too
    told = "the authors' own code differs on our pairs too"
    assert (page.differing()["reason"].item() == told) == too


def test_collapsed_rounds_are_left_out_where_asked(tmp_path, rng):
    ours, theirs = (np.round(rng.normal(14, 0.5, 8), 1) for _ in range(2))
    ours[[1, 4]] = 14.3
    page = _page(tmp_path, ours, theirs, collapsed=(2, 5))
    for sound, left_out in ((False, []), (True, [1, 4])):
        (row,) = page.authors(sound).itertuples()
        rest = (np.delete(each, left_out) for each in (ours, theirs))
        assert (row.low, row.high) == pytest.approx(
            stats.ttest_rel(*rest).confidence_interval(0.95)
        )


def test_few_trainings_of_their_code_say_nothing(tmp_path, rng):
    ours = np.round(rng.normal(14, 0.5, 8), 1)
    assert _page(tmp_path, ours, ours[:4]).authors(sound=False).empty


def test_trainings_of_the_same_start_are_compared_one_by_one(tmp_path):
    ours, theirs = np.array([14, 15, 45, 16.5]), np.array([14.5, 14, 45, 17])
    page = _page(tmp_path, ours, theirs, "same-start", collapsed=(3,))
    pairs = page.same_start()
    assert list(pairs["collapsed"]) == [0, 0, 1, 0]
    found = page.apart(pairs)
    assert (found["size"], found["mean"]) == pytest.approx((0.5, 0))
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx(interval)


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
