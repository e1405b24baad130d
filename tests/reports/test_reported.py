"""The reports' numbers as data."""

import math
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import chi2

from kpairs.errors import UsageError
from kpairs.networks import ARCHS
from kpairs.reports import REPORTS
from kpairs.reports.kong.studies import EXPLAINED
from kpairs.reports.reported import reported, stated_parameters
from kpairs.studies.compare import judge
from kpairs.studies.results import Results

RESULTS = Path(__file__).parents[2] / "docs" / "results.csv"
SOFTMAX = "the same after one softmax"
EXACT = "an exact comparison of digits in place of a learned one"


@pytest.mark.parametrize("report", REPORTS)
def test_every_number_is_a_number_with_its_place(report):
    rows = reported(report)
    assert rows
    for row in rows:
        assert math.isfinite(row.mean)
        assert row.std is None or row.std >= 0
        assert row.table
        assert row.metric
        assert not row.arch or ARCHS[row.arch].report == report


def test_numbers_that_every_reader_would_look_for():
    def mean(report, **wanted):
        (row,) = [r for r in reported(report) if all(getattr(r, k) == v for k, v in wanted.items())]
        return row.mean, row.std, row.rounds

    assert mean("piguet", table="Table 2", arch="c4l2_ws", setting="ws+aux_1") == (14.4, 1.58, 20)
    assert mean("haidinger", arch="auxws", metric="test_accuracy_pct") == (97.1, 0.9, 20)
    assert mean("chassagne", table="Table", arch="wsal_bd") == (2.26, 0.5542, 10)
    assert mean("kong", table="Table III", arch="final_model", metric="validation_accuracy") == (
        *(0.952, 0.007),
        10,
    )
    best = {"setting": "net_params 32-32-64-256", "metric": "best_epoch_val_accuracy_pct"}
    assert mean("altunina", arch="auxnet2", table="Figure 1", **best)[0] == 93.82


@pytest.mark.parametrize(
    ("arch", "stated", "reason"),
    [
        ("c4l2_ws", 34_146, "the trained network has 47106"),
        ("wsal_bd", 76_846, "77020 with batch normalisation"),
        ("w_net", 142_658, "off by one"),
        ("final_model", 155_275, "448"),
    ],
)
def test_contradicted_parameter_counts_carry_their_reason(arch, stated, reason):
    row = stated_parameters(ARCHS[arch].report, arch)
    assert row.mean == stated
    assert reason in row.note


def test_why_auxiliary_losses_bring_little_in_report_000_is_so():
    """Its page says of the second softmax that little changes, of an exact comparison that most."""
    results = Results(RESULTS.parent / "rows")
    told = results.conclusions.set_index("ingredient")["sound"]
    one, exact = (told[name] for name in (SOFTMAX, EXACT))
    assert one.networks == exact.networks == 5
    assert -1 < one.low < one.high < 1
    assert exact.high < -10
    rows = results.rows("piguet-one-softmax")
    digits = (
        rows[rows["collapsed"] == 0].groupby(["setting", "arch"])["test_digit_error_pct"].mean()
    )
    learned, exactly = "ws+aux_1, one softmax", "ws+aux_1, one softmax, exact head"
    assert (digits[learned] - digits[exactly]).abs().max() < 0.5


def test_what_explains_report_003_is_so():
    """The chances that its page states, and the intervals by deviations that may be."""
    frame = pd.read_csv(RESULTS).query("report == 'kong' and metric == 'validation_accuracy'")

    def small(std, others, count):
        """The chance of deviations as small as these, all together."""
        return chi2.cdf(((count - 1) * (std / others) ** 2).sum(), (count - 1) * len(std))

    def of_pairs(share):
        return (share * (1 - share) / 250) ** 0.5

    folds = frame[frame["table"].isin(["Table I", "Table II"])]
    rounds = frame[frame["table"] == "Table III"]
    by_pairs = of_pairs(folds["reported"])
    assert len(folds) == 12
    assert small(folds["reported_std"], by_pairs, 4) == pytest.approx(4e-11, rel=0.1)
    ours = small(folds["ours_std"], of_pairs(folds["ours"]), 4)
    assert ours == pytest.approx(0.46, abs=0.01)
    assert small(rounds["reported_std"], rounds["ours_std"], 10) == pytest.approx(7e-8, rel=0.15)
    likely = pd.concat([by_pairs, rounds["ours_std"]])
    columns = ["table", "arch", "setting", "metric"]
    places = frame[columns].fillna("").apply(tuple, axis="columns")
    explained = frame[places.isin(list(EXPLAINED))]
    assert len(explained) == len(EXPLAINED) == 7
    assert (explained["verdict"] == "differs").all()
    assert (explained["explanation"] != "").all()
    explained = explained[explained["arch"] != "a_net"]  # the one that the page excepts
    there = folds.index.intersection(explained.index)
    assert (folds.loc[there, "reported_std"] < by_pairs[there] / 2).all()
    theirs = explained["reported"], likely[explained.index], explained["reported_rounds"]
    mine = explained["ours"], explained["ours_std"], explained["ours_rounds"]
    judged = judge(*mine, *theirs, explained["margin"])
    assert ((judged["low"] < 0) & (judged["high"] > 0)).all()
    others = rounds[(rounds["verdict"] == "differs") & ~rounds.index.isin(explained.index)]
    assert list(others["arch"]) == ["a_net"]
    theirs = others["reported"], others["ours_std"], others["reported_rounds"]
    mine = others["ours"], others["ours_std"], others["ours_rounds"]
    assert (judge(*mine, *theirs, others["margin"])["low"] > 0).all()
    table = Results(RESULTS.parent / "rows", ["kong"]).compared["kong-table-3"]
    (initial,) = table[table["variant"] == "loss_ratio=1"].itertuples()
    assert initial.low < 0 < initial.high


def test_unknown_reports():
    with pytest.raises(UsageError, match="unknown report 'kongg': did you mean kong"):
        reported("kongg")
    assert stated_parameters("mine", "tiny") is None
