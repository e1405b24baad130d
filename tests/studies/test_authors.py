"""Ours beside the authors' own code: on the same rounds only, as paired tests have it."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kpairs.studies import authors


def _values(errors, setting="s", variant="", metric="test_error_pct"):
    named = {"arch": "a", "setting": setting, "variant": variant, "metric": metric}
    return pd.DataFrame([{**named, "round": n, "value": e} for n, e in errors.items()])


def test_rounds_that_both_have_are_compared_pair_by_pair(rng):
    ours = dict(enumerate(rng.normal(15, 2, 12)))
    theirs = {n: error + rng.normal(0.3, 0.5) for n, error in ours.items() if n >= 4}
    others = [_values(ours, "untried"), _values({5: 99.0}, variant="ours")]
    few = {n: theirs[n] for n in (6, 7)}
    frame = authors.beside(
        pd.concat([_values(ours), _values(ours, "few"), *others]),
        pd.concat([_values(theirs | {20: 0.0}), _values(few, "few")]),
    )
    whole, two = frame.itertuples()
    a, b = (np.array([errors[n] for n in theirs]) for errors in (ours, theirs))
    assert (whole.setting, whole.authors_rounds) == ("s", 8)
    assert (whole.authors, whole.authors_std) == pytest.approx((b.mean(), b.std(ddof=1)))
    assert whole.apart == pytest.approx((a - b).mean())
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (whole.apart_low, whole.apart_high) == pytest.approx(interval)
    assert (two.setting, two.authors_rounds) == ("few", 2)
    assert np.isnan(two.apart_low)
    assert np.isnan(two.apart_high)


def test_the_table_has_the_rounds_of_all_settings():
    def rows(rounds, error):
        each = [{"arch": "a", "setting": s, "round": n} for s, n in product("xy", rounds)]
        return pd.DataFrame(each).assign(test_error_pct=error)

    theirs = rows((1, 2, 3), 11.0)
    table = authors.table(rows((1, 2, 4), 10.0), theirs[theirs.index != 0])
    assert list(table.columns) == [2]
    assert table[2].tolist() == [-1.0, -1.0]
