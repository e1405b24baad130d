"""The rule that says whether numbers agree, held to its error rates; and the pooled effects."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kpairs.recipes import Ingredient
from kpairs.reports import REPORTS
from kpairs.studies import compare
from kpairs.studies.catalogue import STUDIES, declared
from kpairs.studies.compare import AGREES, DIFFERS, NO_ROUNDS, NOT_RUN, OUR_ROUNDS, QUICK, judge
from kpairs.studies.effects import (
    Effect,
    borne_out,
    differences,
    mean_of,
    of_networks,
    pool,
    without_collapsed,
)
from kpairs.studies.results import adjusted

TRIALS = 20_000


@given(
    st.floats(-50, 50),
    st.floats(0.01, 9),
    st.integers(2, 40),
    st.floats(-50, 50),
    st.floats(0.01, 9),
    st.integers(2, 40),
)
def test_intervals_are_welchs(mean, std, count, other, other_std, other_count):
    (row,) = judge(mean, std, count, other, other_std, other_count, 1.0).itertuples()
    test = stats.ttest_ind_from_stats(
        mean, std, count, other, other_std, other_count, equal_var=False
    )
    assert row.low <= mean - other <= row.high
    assert row.p_value == pytest.approx(test.pvalue, abs=1e-12)
    assert (row.low <= 0 <= row.high) == (test.pvalue >= 0.05) or test.pvalue == pytest.approx(0.05)


def test_intervals_of_samples(rng):
    a, b = rng.normal(0, 1, 12), rng.normal(1, 3, 7)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    (row,) = judge(a.mean(), a.std(ddof=1), 12, b.mean(), b.std(ddof=1), 7, 1.0).itertuples()
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))


def test_the_margin_is_of_the_reported_number_alone():
    errors = [0, 2.3, 5, 10, 15, 20, 45]
    assert list(compare.margin_of(errors)) == [1, 1, 1, 1, 1.5, 2, 2]


def _rates(rng, shift, ours=20, theirs=20, std=1.5, margin=1.5):
    """Shares of verdicts over many pairs of samples whose means are a shift apart."""
    columns = []
    for centre, count in ((15 + shift, ours), (15, theirs)):
        sample = rng.normal(centre, std, (TRIALS, count))
        columns += [sample.mean(1), sample.std(1, ddof=1), np.full(TRIALS, count)]
    verdicts = judge(*columns, margin)["verdict"]
    return verdicts.value_counts(normalize=True).reindex(
        [AGREES, DIFFERS, OUR_ROUNDS, NO_ROUNDS], fill_value=0
    )


def _noise(rate):
    """Five standard deviations of a share of so many trials."""
    return 5 * (rate * (1 - rate) / TRIALS) ** 0.5


def test_equal_numbers_seldom_differ(rng):
    rates = _rates(rng, 0)
    assert rates[DIFFERS] <= 0.05 + _noise(0.05)
    assert rates[AGREES] > 0.7  # with 20 rounds on both sides, as the reports have at most
    assert _rates(rng, 0, ours=200, theirs=200)[AGREES] > 0.99


def test_numbers_a_margin_apart_seldom_agree(rng):
    """The error of two one-sided tests: at the margin itself, where it is greatest."""
    for shift in (1.5, -1.5):
        assert _rates(rng, shift)[AGREES] <= 0.025 + _noise(0.025)


def test_numbers_half_a_margin_apart_agree_with_rounds_enough(rng):
    assert _rates(rng, 0.75, ours=400, theirs=400)[AGREES] > 0.99
    few = _rates(rng, 0.75)
    assert few[OUR_ROUNDS] + few[NO_ROUNDS] > 0.3


def test_numbers_two_margins_apart_differ(rng):
    rates = _rates(rng, 3)
    assert rates[DIFFERS] > 0.99
    assert rates[AGREES] < 1e-3


def test_few_rounds_say_whose_are_too_few(rng):
    ours = _rates(rng, 0, ours=3)
    assert ours[DIFFERS] <= 0.08  # Welch's t is a little too sure where one side is tiny
    assert ours[OUR_ROUNDS] > 0.5 > ours[NO_ROUNDS]
    theirs = _rates(rng, 0, ours=1000, theirs=3)
    assert theirs[DIFFERS] <= 0.05 + _noise(0.05)
    assert theirs[NO_ROUNDS] > 0.8
    assert theirs[OUR_ROUNDS] < 0.05


@pytest.mark.parametrize(
    ("ours", "theirs", "limit", "verdict"),
    [
        ((15.1, 0.5, 20), (15, 0.5, 20), np.inf, AGREES),
        ((15.9, 0.5, 20), (15, 0.5, 20), np.inf, AGREES),  # surely not 0, surely within 1.5
        ((18.0, 0.5, 20), (15, 0.5, 20), np.inf, DIFFERS),
        ((15.1, 2.5, 4), (15, 0.5, 20), np.inf, OUR_ROUNDS),
        ((15.1, 2.5, 4), (15, 0.5, 20), 4, NO_ROUNDS),  # folds end
        ((15.1, 0.5, 20), (15, 5.5, 20), np.inf, NO_ROUNDS),
        ((15.1, np.nan, 1), (15, 0.5, 20), np.inf, OUR_ROUNDS),
        ((np.nan, np.nan, 0), (15, 0.5, 20), np.inf, NOT_RUN),
        # One number without deviation: ours is taken for its one round.
        ((15.1, 0.5, 20), (15, np.nan, np.nan), np.inf, AGREES),
        ((15.1, 1.5, 20), (15, np.nan, 1), np.inf, NO_ROUNDS),
        ((20.1, 1.5, 20), (15, np.nan, 1), np.inf, DIFFERS),
        ((15.1, 1.5, 20), (15, np.nan, 20), np.inf, AGREES),
        ((15.0, 0.0, 20), (15, 0.0, 20), np.inf, AGREES),
        ((19.0, 0.0, 20), (15, 0.0, 20), np.inf, DIFFERS),
    ],
)
def test_verdicts(ours, theirs, limit, verdict):
    (row,) = judge(*ours, *theirs, 1.5, limit).itertuples()
    assert row.verdict == verdict


def test_an_assumed_deviation_gives_the_interval_of_one_more_training(rng):
    sample = rng.normal(15, 1.5, 20)
    (row,) = judge(sample.mean(), sample.std(ddof=1), 20, 15, np.nan, 1, 1.5).itertuples()
    half = stats.t.ppf(0.975, 19) * sample.std(ddof=1) * (1 + 1 / 20) ** 0.5
    assert (row.high - row.low) / 2 == pytest.approx(half)


def _rows(study, values):
    """Rows of a study's settings from errors by round; the rest does not matter here."""
    parts = []
    for setting in study.settings:
        errors = np.asarray(values(setting))
        parts.append(
            pd.DataFrame(
                {
                    "arch": setting.recipe.network.arch,
                    "setting": setting.setting,
                    "round": np.arange(1, len(errors) + 1),
                    "collapsed": 0,
                    **dict.fromkeys(
                        ("test_error_pct", "train_error_pct", "best_epoch_error_pct"), errors
                    ),
                }
            )
        )
    return pd.concat(parts)


def test_a_study_is_compared_with_every_number_of_its_tables():
    study = STUDIES["kong-table-1"]
    sigmoid = "4-fold CV, sigmoid units"
    errors = {sigmoid: [20, 22, 24, 26]}
    rows = _rows(study, lambda s: errors.get(s.setting, [19, 20, 21, 20]))
    frame = compare.compare(study, rows)
    fc_1 = frame[frame["arch"] == "fc_1"].set_index("variant")
    assert list(fc_1.index) == ["", sigmoid]  # beside ReLU, against the same number
    assert set(fc_1["mean"]) == {0.765}
    assert fc_1.loc["", "ours"] == pytest.approx(0.8)
    assert fc_1.loc[sigmoid, "ours"] == pytest.approx(0.77)
    assert fc_1.loc[sigmoid, "margin"] == pytest.approx(0.02)
    numbers = compare.numbers_of("kong")
    stated = (numbers["table"] == "Table I") & (numbers["metric"] == "validation_accuracy")
    assert (frame["variant"] == "").sum() == stated.sum() == 7


def test_quick_runs_give_no_verdict():
    quick = STUDIES["haidinger-figure-2"].quick()
    frame = compare.compare(quick, _rows(quick, lambda s: [15.0, 16.0]))
    assert len(frame) == 6
    assert set(frame["verdict"]) == {QUICK}
    assert set(frame["as_expected"]) == {""}
    assert frame[["p_value", "resampled_p_value"]].isna().all(axis=None)


def test_a_number_is_as_expected_by_as_many_rounds_as_the_report_has():
    """Further rounds, which look again where a number differed, decide the other verdict alone."""
    study = STUDIES["kong-table-3"]
    first, further = [19.0, 21] * 5, [12.0, 14] * 20
    frame = compare.compare(study, _rows(study, lambda s: first + further))
    row = frame[(frame["arch"] == "fc_1") | (frame["arch"] == "cnn_base")].iloc[0]
    assert (row["mean"], row["std"], row["rounds"]) == (0.826, 0.011, 10)
    assert (row["first_ours"], row["first_rounds"]) == (pytest.approx(0.8), 10)
    mine = 0.8, np.std(first, ddof=1) / 100, 10
    test = stats.ttest_ind_from_stats(*mine, 0.826, 0.011, 10, equal_var=False)
    assert row["first_p_value"] == pytest.approx(test.pvalue)
    assert row["as_expected"] == ("yes" if test.pvalue >= 0.05 else "no")
    assert row["ours_rounds"] == 50
    assert row["verdict"] == DIFFERS


def test_false_discoveries_are_held_down(rng):
    """Of what is found among many equal numbers and some that differ, few are equal."""
    found = []
    for _ in range(200):
        p = stats.norm.sf(rng.normal([0] * 180 + [4] * 20, 1))
        rejected = (adjusted(pd.Series(p)) <= 0.05).to_numpy()
        found.append(rejected[:180].sum() / max(1, rejected.sum()))
    assert np.mean(found) <= 0.06
    mixed = adjusted(pd.Series([0.01, np.nan, 0.04]))
    assert list(mixed) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)


# Risk of tuberculosis with the BCG vaccine: log risk ratios of 13 trials and their variances
# (Colditz et al., 1994, as metafor's dat.bcg has them), and what statsmodels 0.14 gives: its
# `combine_effects(method_re="pm", use_t=True)`, "random effect wls".
BCG = pd.DataFrame(
    {
        "mean": [
            *(-0.8893, -1.5854, -1.3481, -1.4416, -0.2175, -0.7861, -1.6209),
            *(0.0120, -0.4694, -1.3713, -0.3394, 0.4459, -0.0173),
        ],
        "variance": [
            *(0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230),
            *(0.0040, 0.0564, 0.0730, 0.0124, 0.5325, 0.0714),
        ],
    }
)


def test_pooling_is_that_of_statistics_books():
    effect = pool(BCG)
    assert effect.mean == pytest.approx(-0.71497, abs=1e-5)
    assert (effect.low, effect.high) == pytest.approx((-1.10911, -0.32084), abs=1e-5)
    assert effect.networks == 13


def test_networks_that_agree_by_luck_make_no_interval_of_nothing():
    effect = pool(pd.DataFrame({"mean": [-14.0, -14.0], "variance": [1.0, 1.0]}))
    assert effect.high - effect.mean == pytest.approx(stats.t.ppf(0.975, 1) * 0.5**0.5)


def test_pooled_intervals_hold_what_they_say(rng):
    """Effects of eight networks about a mean of -1, each measured by 20 rounds."""
    held = []
    for _ in range(1000):
        true = rng.normal(-1, 0.8, 8)
        rounds = rng.normal(true[:, None], 2.0, (8, 20))
        networks = {"mean": rounds.mean(1), "variance": rounds.var(1, ddof=1) / 20}
        effect = pool(pd.DataFrame(networks))
        held.append(effect.low <= -1 <= effect.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


def test_networks_of_one_report_are_averaged_within_rounds(rng):
    """What a round's pairs do to both networks does not cancel."""
    a, b = rng.normal(-2, 1, 12) + rng.normal([[0], [-3]], 0.1, (2, 12))
    rows = _trainings({"a x": a * 0, "a y": a, "b x": b[:9] * 0, "b y": b[:9]})
    pairs = [("a x", "a y"), ("b x", "b y")]
    effect = mean_of(differences({"k": rows}, {"k": [Ingredient("sharing", pairs)]}))
    both = (a + b)[:9] / 2  # the rounds that both have
    expected = stats.ttest_1samp(both, 0).confidence_interval()
    assert effect.mean == pytest.approx(both.mean())
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))
    assert effect.networks == 2


def _trainings(errors, collapsed=()):
    """Rows by name of setting: its errors by round."""
    return pd.concat(
        pd.DataFrame(
            {
                "arch": name.split()[0],
                "setting": " ".join(name.split()[1:]),
                "round": np.arange(1, len(values) + 1),
                "test_error_pct": values,
                "collapsed": [int((name, n) in collapsed) for n in range(1, len(values) + 1)],
            }
        )
        for name, values in errors.items()
    )


def test_an_effect_is_with_minus_without_on_the_same_rounds():
    rows = _trainings({"a x": [10.0, 20, 30, 99], "b x": [8.0, 17, 30]})
    paired = differences({"kong": rows}, {"kong": [Ingredient("sharing", [("a x", "b x")])]})
    assert list(paired["difference"]) == [-2, -3, 0]
    assert list(paired["round"]) == [1, 2, 3]
    effect = mean_of(paired)
    expected = stats.ttest_1samp([-2, -3, 0], 0).confidence_interval()
    assert (effect.networks, effect.low, effect.high) == pytest.approx(
        (1, expected.low, expected.high)
    )


def test_a_network_in_several_settings_counts_once():
    rows = _trainings(
        {"a x": [10.0, 20, 30], "a y": [11.0, 21, 31], "b x": [9.0, 18, 27], "b y": [11.0, 22, 33]}
    )
    ingredient = Ingredient("sharing", [("a x", "b x"), ("a y", "b y")])
    (network,) = of_networks(differences({"k": rows}, {"k": [ingredient]})).itertuples()
    assert (network.mean, network.rounds) == (-0.5, 3)


def test_a_round_in_which_any_network_collapsed_is_left_out_for_all():
    errors = {"a x": [10.0, 11, 12, 45], "b x": [8.0, 9, 10, 9]}
    errors |= {"c x": [20.0, 21, 22, 23], "d x": [16.0, 17, 18, 3]}
    rows = _trainings(errors, {("a x", 4)})
    ingredient = Ingredient("sharing", [("a x", "b x"), ("c x", "d x")])
    sound = without_collapsed(differences({"k": rows}, {"k": [ingredient]}))
    assert set(sound["round"]) == {1, 2, 3}
    assert (mean_of(sound).networks, mean_of(sound).mean) == (2, -3)


@pytest.mark.parametrize(
    ("claim", "low", "high", "outcome"),
    [
        ("lowers", -3, -1, "yes"),
        ("lowers", 1, 3, "no"),
        ("raises", 1, 3, "yes"),
        ("raises", -3, -1, "no"),
        ("lowers", -3, 0.1, "open"),
        ("raises", -3, 0, "open"),
        ("", -3, -1, ""),
    ],
)
def test_a_conclusion_is_borne_out_where_the_whole_interval_is_on_its_side(
    claim, low, high, outcome
):
    assert borne_out(claim, Effect(1, (low + high) / 2, low, high)) == outcome
    assert borne_out(claim, None) == ("too few rounds" if claim else "")


def test_two_rounds_are_no_effect():
    rows = _trainings({"a x": [10.0, 20], "b x": [8.0, 17]})
    paired = differences({"k": rows}, {"k": [Ingredient("sharing", [("a x", "b x")])]})
    assert len(paired) == 2
    assert of_networks(paired).empty
    assert mean_of(paired) is None


def test_ingredients_name_settings_that_exist_once():
    for report, ingredients in declared("INGREDIENTS").items():
        names = [
            s.name for study in STUDIES.values() if study.report == report for s in study.settings
        ]
        for ingredient in ingredients:
            assert ingredient.claim in ("", "lowers", "raises")
            assert bool(ingredient.claim) == bool(ingredient.conclusion)
            for pair in ingredient.pairs:
                assert [names.count(name) for name in pair] == [1, 1], pair
    assert set(declared("INGREDIENTS")) == set(REPORTS)
