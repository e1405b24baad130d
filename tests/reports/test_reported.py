"""The reports' numbers as data."""

import math

import pytest

from kpairs.errors import UsageError
from kpairs.networks import ARCHS
from kpairs.reports import REPORTS
from kpairs.reports.reported import reported, stated_parameters


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


def test_unknown_reports():
    with pytest.raises(UsageError, match="unknown report 'kongg': did you mean kong"):
        reported("kongg")
    assert stated_parameters("mine", "tiny") is None
