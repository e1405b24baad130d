"""What people measure, held against scikit-learn and scipy; and `kpairs evaluate` on other data."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from command_line import kpairs
from PIL import Image
from scipy.stats import kendalltau, pearsonr, spearmanr
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, ndcg_score, roc_auc_score

from kpairs import train
from kpairs.data.pairs import PairSet
from kpairs.judging.agreement import interval_by_images
from kpairs.networks import ARCHS
from kpairs.training.measures import measures

OUTPUTS = ARCHS["auxranker"].outputs
PAIRS = [(a, b) for a in range(20) for b in range(20) if a != b]


def softmax(values):
    exponentials = np.exp(values)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.fixture
def said(rng):
    """200 pairs of 5 grades with ties, and what a middling network says of them."""
    left, right = rng.integers(0, 5, (2, 200))
    images = np.zeros((200, 14, 14, 1), np.float32)
    pairs = PairSet(images, images, left, right).with_even_ties()
    scores = np.stack([left, right], axis=1) + rng.normal(0, 1.5, (200, 2))
    values = {"comparison": scores, "left_score": scores[:, :1], "right_score": scores[:, 1:]}
    for side, grades in (("left", left), ("right", right)):
        values[f"{side}_digit"] = rng.normal(0, 1, (200, 5)) + 2 * np.eye(5)[grades]
    return pairs, values


def test_measures_of_pairs_equal_scikit_learns(said):
    pairs, values = said
    found = measures(values, OUTPUTS, pairs, 5)
    held, judged = softmax(values["comparison"])[:, 1], pairs.probability
    decided = judged != 0.5
    assert (found["pairs"], found["ties"]) == (200, (~decided).sum())
    assert found["auc"] == pytest.approx(roc_auc_score(judged[decided] > 0.5, held[decided]))
    right = (held > 0.5) == (judged > 0.5)
    assert found["accuracy_pct"] == pytest.approx(100 * right[decided].mean())
    assert found["tie_margin"] == pytest.approx(np.abs(held - 0.5)[~decided].mean())

    sure = measures({n: v[decided] for n, v in values.items()}, OUTPUTS, pairs.take(decided), 5)
    shares, predicted = calibration_curve(judged[decided] > 0.5, held[decided], n_bins=10)
    bins = sure["reliability"]
    np.testing.assert_allclose([b["judged"] for b in bins], shares)
    np.testing.assert_allclose([b["predicted"] for b in bins], predicted)
    weights = [b["pairs"] / decided.sum() for b in bins]
    assert sure["calibration_error"] == pytest.approx(weights @ np.abs(shares - predicted))


def test_measures_of_images_equal_scipys(said):
    pairs, values = said
    found = measures(values, OUTPUTS, pairs, 5)
    grades = np.concatenate([pairs.left_digit, pairs.right_digit])
    scores = values["comparison"].T.ravel()
    both = np.concatenate([values["left_digit"], values["right_digit"]])
    assert found["images"] == 400
    assert found["kendall_tau_b"] == pytest.approx(kendalltau(scores, grades).statistic)
    assert found["spearman"] == pytest.approx(spearmanr(scores, grades).statistic)
    assert found["pearson"] == pytest.approx(pearsonr(scores, grades).statistic)
    assert found["grade_mae"] == pytest.approx(np.abs(both.argmax(axis=1) - grades).mean())
    counts, apart = found["confusion"], np.subtract.outer(np.arange(5), np.arange(5)) ** 2
    by_chance = np.outer(np.sum(counts, axis=1), np.sum(counts, axis=0)) / 400
    assert found["kappa"] == pytest.approx(1 - (apart * counts).sum() / (apart * by_chance).sum())
    np.testing.assert_array_equal(found["confusion"], confusion_matrix(grades, both.argmax(axis=1)))
    # Without scores the expected grade takes their place; without either there is nothing to rank.
    plain = {name: v for name, v in values.items() if "score" not in name}
    kinds = {name: kind for name, kind in OUTPUTS.items() if name in plain}
    expected = softmax(both) @ np.arange(5)
    tau = measures(plain, kinds, pairs, 5)["kendall_tau_b"]
    assert tau == pytest.approx(kendalltau(expected, grades).statistic)
    bare = measures({"comparison": plain["comparison"]}, {"comparison": "logits"}, pairs, 5)
    assert not {"images", "kendall_tau_b", "spearman", "confusion"} & set(bare)


def test_pairs_within_and_across_groups(said):
    pairs, values = said
    group = np.stack([np.arange(200) % 3, np.arange(200) % 2], axis=1)
    found = measures(values, OUTPUTS, replace(pairs, group=group), 5)
    within, across = (found[name] for name in ("within_groups", "across_groups"))
    ties = found["ties"]
    assert within["pairs"] + across["pairs"] == 200 - ties
    right = sum(part["pairs"] * part["accuracy_pct"] for part in (within, across))
    assert right / (200 - ties) == pytest.approx(found["accuracy_pct"])
    same = measures(values, OUTPUTS, replace(pairs, group=np.zeros((200, 2), int)), 5)
    assert same["within_groups"]["accuracy_pct"] == pytest.approx(found["accuracy_pct"])
    assert "across_groups" not in same


def test_scores_are_mapped_to_true_values_as_image_quality_does(said):
    """A logistic truth is found again to the noise; its map is no worse than a straight line."""
    pairs, values = said
    scores = values["comparison"].T.ravel()
    noise = np.random.default_rng(0).normal(0, 0.2, 400)
    truth = 10 + 5 / (1 + np.exp(-(scores - 2))) + noise
    found = measures(values, OUTPUTS, pairs, 5, truth)
    assert found["mapped"]["rmse"] == pytest.approx(0.2, rel=0.1)
    assert found["mapped"]["pearson"] > found["pearson"]
    assert found["kendall_tau_b"] == pytest.approx(kendalltau(scores, truth).statistic)


def test_scores_that_differ_by_rounding_alone_correlate_with_nothing(said):
    pairs, values = said
    same = {name: 5 + 1e-12 * value for name, value in values.items()}
    found = measures(same, OUTPUTS, pairs, 5, np.arange(400.0))
    assert not found.keys() & {"pearson", "mapped"}


def test_groups_and_judges(said):
    pairs, values = said
    group, judge = np.stack([np.arange(200) % 9] * 2, axis=1), np.array(["ann", "bo"])
    who = judge[np.arange(200) % 2]
    found = measures(values, OUTPUTS, replace(pairs, group=group, judge=who), 5)
    grades = np.concatenate([pairs.left_digit, pairs.right_digit])
    scores, of = values["comparison"].T.ravel(), np.tile(np.arange(200) % 9, 2)
    each = [ndcg_score(grades[of == g][None], scores[of == g][None]) for g in range(9)]
    best = [grades[of == g][scores[of == g].argmax()] == grades[of == g].max() for g in range(9)]
    expected = {"groups": 9, "ndcg": pytest.approx(np.mean(each))}
    assert found["groups"] == {**expected, "best_pct": pytest.approx(100 * np.mean(best))}
    held, judged = softmax(values["comparison"])[:, 1], pairs.comparison
    for name, row in zip(judge, found["judges"], strict=True):
        own = (who == name) & (judged != 0.5)
        right = ((held > 0.5) == (judged > 0.5))[own].mean()
        assert (row["judge"], row["network"]["of"]) == (name, own.sum())
        assert row["network"]["share_pct"] == pytest.approx(100 * right)
        assert "others" not in row  # nobody judged a pair again


def test_answers_that_are_repeated_tell_no_more_and_no_less():
    """Of pairs that share images, so that the interval is not the binomial one."""
    right, left, other = np.arange(60) % 20 > 4, np.arange(60) % 20, np.arange(60) // 3 + 20
    once = interval_by_images(right, left, other)
    for sides in ((left, other), (other, left)):
        again = np.concatenate([left, sides[0]]), np.concatenate([other, sides[1]])
        assert interval_by_images(np.tile(right, 2), *again) == pytest.approx(once)


def test_kappa_knows_of_grades_that_nobody_has(said):
    pairs, values = said
    digits = {"left_digit": pairs.left_digit, "right_digit": pairs.right_digit}
    known = {name: np.where(digit == 2, 1, digit) for name, digit in digits.items()}
    told = {name: values[name] - 99 * (np.arange(5) == 2) for name in known}
    found = measures({**values, **told}, OUTPUTS, replace(pairs, **known), 5)
    apart = np.subtract.outer(np.arange(5), np.arange(5)) ** 2
    counts = np.array(found["confusion"])
    assert not counts[2].any()
    assert not counts[:, 2].any()
    by_chance = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    assert found["kappa"] == pytest.approx(1 - (apart * counts).sum() / (apart * by_chance).sum())


@pytest.mark.parametrize("images", [30, 4000])
def test_an_interval_by_images_holds_the_truth(images):
    """Images that are hard in all their pairs: 95 % of intervals hold the expected accuracy."""
    rng, hits, wide = np.random.default_rng(0), [], []
    for _ in range(300):
        easy = rng.normal(1, 1, images)
        left = rng.integers(images, size=300)
        right = (left + rng.integers(1, images, size=300)) % images
        chances = 1 / (1 + np.exp(-easy[left] - easy[right]))
        low, high = interval_by_images(rng.random(300) < chances, left, right)
        wide.append(high - low)
        hits.append(low <= 0.8152 <= high)
    assert np.mean(hits) == pytest.approx(0.95, abs=0.04)
    assert (np.mean(wide) > 0.11) == (images == 30)


def test_what_cannot_be_told_is_left_out(said):
    pairs, values = said
    nobody = np.full(200, -1)
    unknown = replace(pairs, left_digit=nobody, right_digit=nobody)
    found = measures(values, OUTPUTS, unknown, 5)
    assert not {"images", "kendall_tau_b", "confusion"} & set(found)
    ties = replace(pairs, probability=np.full(200, 0.5, np.float32))
    found = measures(values, OUTPUTS, ties, 5)
    assert found["ties"] == 200
    assert not {"auc", "accuracy_pct", "margin"} & set(found)
    json.dumps(found, allow_nan=False)


@pytest.fixture
def run(tmp_path, tiny, monkeypatch, rng):
    """An untrained ranker of grey pictures, and its folder of pictures by brightness."""
    monkeypatch.setenv("KPAIRS_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for i in range(20):
        noise = rng.integers(8 * i, 8 * i + 40, (14, 14), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i:02d}.png")
    write(tmp_path / "pairs.csv", [(a, b, "left" if a > b else "right") for a, b in PAIRS])
    recipe = tiny("ranker", data="pairs.csv", rounds=2).with_options(widths=(4, 4, 4, 4, 8))
    return train(recipe, "run", engine="keras")


def write(path, rows, header=("left", "right", "label")):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([f"{a:02d}.png", f"{b:02d}.png", *rest] for a, b, *rest in rows)


def test_evaluation_on_other_data(run, tmp_path):
    own = json.loads(kpairs("evaluate", "run", "--json"))
    assert [row["test"] for row in own["rounds"]] == [row["test"] for row in run.metrics["rounds"]]
    assert own["written"] == ["run/reliability.png"]
    with Image.open("run/reliability.png") as drawn:
        assert drawn.size[0] > 100
    rows = [(0, 5, 1.0), (5, 9, 0.5), (9, 1, 0.25)]
    write(tmp_path / "others.csv", rows, ("a", "b", "p"))
    arguments = ("--data", "others.csv", "--columns", "left=a,right=b,right_wins=p")
    other = json.loads(kpairs("evaluate", "run", *arguments, "--json"))
    found = other["rounds"][0]["measures"]
    assert (found["pairs"], found["ties"]) == (3, 1)
    assert "train" not in other["rounds"][0]
    text = kpairs("evaluate", "run", *arguments)
    assert "AUC of P(left <= right)" in text
    split = [(*row, part) for row, part in zip(rows, ("train", "test", "test"), strict=True)]
    write(tmp_path / "split.csv", split, ("a", "b", "p", "split"))
    arguments = ("--data", "split.csv", *arguments[2:])
    other = json.loads(kpairs("evaluate", "run", *arguments, "--json"))
    assert other["rounds"][0]["measures"]["pairs"] == 2


def test_evaluation_on_grades(run, tmp_path, tiny):
    """A network that scores is held to any grades; one that tells grades to its own alone."""
    graded = [(a, b, "right", int(a > 3), 1) for a, b in ((0, 5), (5, 9), (2, 1))]
    header = ("left", "right", "label", "left_grade", "right_grade")
    write(tmp_path / "graded.csv", graded, header)
    found = json.loads(kpairs("evaluate", "run", "--data", "graded.csv", "--json"))
    assert {"kendall_tau_b", "spearman"} < set(found["rounds"][0]["measures"])
    named = [(a, b, "left", *("low" if i < 10 else "high" for i in (a, b))) for a, b in PAIRS]
    write(tmp_path / "own.csv", named, header)
    grading = tiny("auxranker", data="own.csv", classes=("low", "high"))
    train(grading.with_options(widths=(4, 4, 4, 4, 8)), "grading", engine="keras")
    said = kpairs("evaluate", "grading", "--data", "graded.csv", expect=4)
    assert "expected the classes of the training, low, high; received 0, 1" in said
    assert "nowhere: no such file" in kpairs("evaluate", "run", "--data", "nowhere", expect=4)
