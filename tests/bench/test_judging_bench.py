"""Simulated sessions: every method runs, and the measures are what they are named for."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import somersd

from kpairs.bench import judging
from kpairs.errors import UsageError

DOCS = Path(__file__).parents[2] / "docs"


def test_features_order_more_photographs_than_answers_alone(rng, monkeypatch):
    """Fifty answers by each method, on features that tell most of the truth."""
    monkeypatch.setattr(judging, "_IMAGES", 100)
    monkeypatch.setattr(judging, "_UNSEEN", 30)
    count = 130
    amounts = rng.uniform(0, 4, count)
    features = judging.prepare_features(
        np.column_stack([amounts + rng.normal(0, 0.5, count), rng.normal(size=(count, 3))])
    )
    tau = {}
    for method in judging.METHODS:
        (row,) = judging._run("careless", method, 0, 50, features, amounts)
        assert row["judgements"] == 50
        tau[method] = row["tau"]
    assert tau["kpairs"] > 0.45 > max(tau["bradley-terry"], tau["trueskill"], tau["asap"])
    assert judging._means([row, row | {"tau": row["tau"] + 1}])[0]["tau"] == pytest.approx(
        row["tau"] + 0.5
    )


def test_pairs_of_equal_truth_do_not_count(rng):
    truth, scores = rng.integers(0, 3, 40).astype(float), rng.normal(size=40)
    expected = somersd(truth, scores).statistic
    assert judging.agreement_with(truth, scores) == pytest.approx(expected)


def test_information_gain_is_that_of_the_integral(rng):
    """By drawing differences: entropy of the mean answer less the mean entropy."""
    mean, variance = np.array([0.0, 1.0, 3.0]), np.array([1.0, 4.0, 0.5])
    d = mean[:, None] + np.sqrt(variance)[:, None] * rng.standard_normal((3, 200_000))
    p = 1 / (1 + np.exp(-d))

    def entropy(p):
        return -p * np.log2(p) - (1 - p) * np.log2(1 - p)

    expected = entropy(p.mean(axis=1)) - entropy(p).mean(axis=1)
    np.testing.assert_allclose(judging.information_gain(mean, variance), expected, atol=0.03)


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="unknown method 'kpair': did you mean kpairs"):
        judging.bench_judging(methods=["kpair"])


def test_the_page_shows_the_committed_rows():
    rows = pd.read_csv(DOCS / "rows/judging.csv")
    assert rows.groupby(["truth", "method", "judgements"]).size().eq(10).all()
    shown = {
        "kpairs": ("continuous", "kpairs", "tau"),
        "kpairs, random pairs": ("continuous", "kpairs-random", "tau"),
        "kpairs, no features": ("continuous", "kpairs-plain", "tau"),
        "Bradley-Terry, random pairs": ("continuous", "bradley-terry", "tau"),
        "TrueSkill": ("continuous", "trueskill", "tau"),
        "information gain (as in ASAP), no features": ("continuous", "asap", "tau"),
        "kpairs, 250 photographs nobody judged": ("continuous", "kpairs", "tau_unseen"),
        "kpairs, five grades as truth": ("grades", "kpairs", "tau"),
        "kpairs, one judge of three answers by chance": ("careless", "kpairs", "tau"),
        "kpairs, features that say nothing": ("shuffled", "kpairs", "tau"),
    }
    page = (DOCS / "judging.md").read_text(encoding="utf-8")
    for label, (truth, method, column) in shown.items():
        part = rows[(rows.truth == truth) & (rows.method == method)]
        means = part.groupby("judgements")[column].mean()
        assert f"| {label} | {' | '.join(f'{value:.2f}' for value in means)} |" in page
    covered = rows[rows.method.str.startswith("kpairs")].groupby(["truth", "method", "judgements"])
    covered = covered["coverage_pairs"].mean()
    assert "for 92 to 99 % of pairs" in page
    assert (round(covered.min(), 2), round(covered.max(), 2)) == (0.92, 0.99)
