"""Losses held against their formulas in NumPy."""

import sys

import keras
import numpy as np
import pytest
from PIL import Image

from kpairs import evaluate, train
from kpairs.errors import InputError, UsageError
from kpairs.losses import ClassCrossentropy, PairCrossentropy, PairwiseLoss, check_pair_loss


@pytest.mark.parametrize(("from_logits", "columns"), [(True, 2), (False, 2), (True, 1), (False, 1)])
def test_pair_crossentropy_is_that_of_a_probability(from_logits, columns, rng):
    target, values = rng.random(9), rng.uniform(0.1, 0.9, (9, columns))
    if columns == 2 and not from_logits:
        values /= values.sum(axis=1, keepdims=True)
    held = values[:, -1]
    if from_logits:
        held = 1 / (1 + np.exp((values[:, 0] if columns == 2 else 0) - values[:, -1]))
    expected = -(target * np.log(held) + (1 - target) * np.log(1 - held))
    loss = PairCrossentropy(from_logits)
    for shape in ((9,), (9, 1)):
        assert float(loss(target.reshape(shape), values)) == pytest.approx(
            expected.mean(), rel=1e-5
        )
    weights = rng.random(9)
    weighted = float(loss(target, values, weights))
    assert weighted == pytest.approx((weights * expected).mean(), rel=1e-5)
    summed = PairCrossentropy(from_logits, reduction="sum")
    assert float(summed(target, values)) == pytest.approx(expected.sum(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("from_logits", [True, False])
def test_class_crossentropy_of_known_classes(from_logits, smoothing, rng):
    target = np.array([2, -1, 0, 3, -1, 1])
    values = rng.normal(size=(6, 4))
    exponentials = np.exp(values)
    p = exponentials / exponentials.sum(axis=1, keepdims=True)
    smoothed = (1 - smoothing) * np.eye(4)[target] + smoothing / 4
    expected = -(smoothed * np.log(p)).sum(axis=1)[target >= 0]
    loss = ClassCrossentropy(from_logits, smoothing, ignore_class=-1)
    given = values if from_logits else p
    assert float(loss(target, given)) == pytest.approx(expected.mean(), rel=1e-5)
    assert float(loss(target[:, None], given)) == pytest.approx(expected.mean(), rel=1e-5)
    assert float(loss(np.full(6, -1), given)) == 0
    summed = ClassCrossentropy(from_logits, smoothing, -1, reduction="sum")
    assert float(summed(target, given)) == pytest.approx(expected.sum(), rel=1e-5)
    known = target >= 0
    every = ClassCrossentropy(from_logits, smoothing)
    assert float(every(target[known], given[known])) == pytest.approx(expected.mean(), rel=1e-5)


def test_probabilities_as_logits_pass_a_second_softmax(rng):
    p, target = rng.dirichlet(np.ones(5), 7), rng.integers(0, 5, 7)
    expected = np.log(np.exp(p).sum(axis=1)) - p[np.arange(7), target]
    assert float(ClassCrossentropy(True)(target, p)) == pytest.approx(expected.mean(), rel=1e-5)
    assert expected.min() > np.log(1 + 4 / np.e)
    kerass = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(ClassCrossentropy(True)(target, p)) == float(kerass(target, p))


@pytest.mark.parametrize("kind", ["hinge", "soft_zero_one"])
def test_pairwise_losses_count_by_the_judged_probability(kind, rng):
    pytest.importorskip("keras_rs")
    target, scores = rng.random(9), rng.normal(0, 2, (9, 2))
    target[0], scores[0] = 0.5, 1.0

    def side(lead):
        return np.maximum(0, 1 - lead) if kind == "hinge" else 1 / (1 + np.exp(lead))

    lead = scores[:, 1] - scores[:, 0]
    expected = target * side(lead) + (1 - target) * side(-lead)
    loss = PairwiseLoss(kind)
    for shape in ((9,), (9, 1)):
        assert float(loss(target.reshape(shape), scores)) == pytest.approx(
            expected.mean(), rel=1e-5
        )
    summed = PairwiseLoss(kind, reduction="sum")
    assert float(summed(target, scores)) == pytest.approx(expected.sum(), rel=1e-5)
    margin = rng.uniform(0, 3, 9)
    beyond = margin - (kind == "hinge")  # hinge's own is 1
    expected = target * side(lead - beyond) + (1 - target) * side(-lead - beyond)
    found = float(loss(np.stack([target, margin], axis=1), scores))
    assert found == pytest.approx(expected.mean(), rel=1e-5)


def test_margins_of_a_table_train(tmp_path, monkeypatch, tiny, rng):
    """By losses that use them; others refuse the column, and a cell that is no margin is named."""
    pytest.importorskip("keras_rs")
    monkeypatch.chdir(tmp_path)
    for i in range(8):
        Image.fromarray(rng.integers(20 * i, 20 * i + 40, (14, 14), np.uint8)).save(f"{i}.png")
    rows = [(i, j, "left" if i > j else "right", 1 + abs(i - j) // 3)
            for i in range(8) for j in range(8) if i != j]  # fmt: skip
    lines = [f"{i}.png,{j}.png,{label},{margin}" for i, j, label, margin in rows]
    (tmp_path / "pairs.csv").write_text("\n".join(["left,right,label,margin", *lines]))
    recipe = tiny("ranker", data="pairs.csv").with_options(widths=(4, 4, 4, 4, 8))
    with pytest.raises(UsageError, match=r"pairs.csv: its column margin is for --pair-loss hinge"):
        train(recipe, "run")
    logs = {}
    for engine in ("auto", "keras"):
        run = train(recipe.replace(pair_loss="hinge"), engine, engine=engine, verbose=0)
        logs[engine] = [row["test_loss"] for row in run.history(1)]
        assert evaluate(run)[0]["measures"]["pairs"]
    np.testing.assert_allclose(logs["auto"], logs["keras"], rtol=1e-2)
    (tmp_path / "pairs.csv").write_text("left,right,label,margin\n0.png,1.png,left,wide\n")
    with pytest.raises(InputError, match="row 2: expected a margin of 0 or more, received wide"):
        train(recipe, "other")


def test_other_losses_are_refused_where_they_cannot_be(monkeypatch):
    check_pair_loss("logistic", False, "ws")
    with pytest.raises(UsageError, match=r"expected a network that scores images.*received ws"):
        check_pair_loss("hinge", False, "ws")
    monkeypatch.setitem(sys.modules, "keras_rs", None)
    with pytest.raises(UsageError, match=r"not installed; pip install 'kpairs\[ranking\]'"):
        check_pair_loss("hinge", True, "ranker")
    with pytest.raises(UsageError, match="kind"):
        PairwiseLoss("nosuch")
