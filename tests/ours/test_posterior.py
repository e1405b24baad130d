"""Our own architecture: the exact comparison, distortions, pairing, schedule and averaging."""

from functools import partial
from itertools import product

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rounds import opened

from kpairs.data import draw_pairs
from kpairs.errors import UsageError
from kpairs.layers import PosteriorComparison
from kpairs.losses import loss_of
from kpairs.models.outputs import probabilities
from kpairs.networks import ARCHS, build
from kpairs.optimizers import OneCycle
from kpairs.recipes import Setting, Study, Trial
from kpairs.reports import RECIPES
from kpairs.studies.mistakes import to_image
from kpairs.studies.rows import collect, read_rows
from kpairs.studies.run import load_result, run_jobs
from kpairs.training.batches import Batches, paired_anew, varied
from kpairs.training.callbacks import MovingAverage
from kpairs.training.network import load_round
from kpairs.training.prepare import draw_round
from kpairs.training.train import train


def softmax(x):
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def brute_force(left, right):
    """P(left <= right) of two vectors of probabilities, summed pair by pair."""
    places = product(range(len(left)), repeat=2)
    return sum(left[i] * right[j] for i, j in places if i <= j)


logits = st.integers(2, 12).flatmap(
    lambda n: arrays(np.float32, (2, 3, n), elements=st.floats(-20, 20, width=32))
)


@given(logits)
@settings(max_examples=30, deadline=None)
def test_the_comparison_is_the_sum_over_ordered_digits(values):
    p, q = softmax(values.astype(np.float64))
    expected = [brute_force(*pair) for pair in zip(p, q, strict=True)]
    for digits, inputs in (("logits", values), ("probabilities", softmax(values))):
        for kind in ("logits", "probabilities", "sigmoid"):
            result = PosteriorComparison(digits, kind)(list(inputs))
            received = probabilities(keras.ops.convert_to_numpy(result), kind)[:, 1]
            np.testing.assert_allclose(received, expected, atol=2e-6)


def test_both_logarithms_are_exact_where_probabilities_vanish():
    """A digit that is surely greater: log P(left <= right) is far below float32's least number."""
    left, right = np.zeros((2, 1, 10), np.float32)
    left[0, 9], right[0, 0] = 300, 300
    result = keras.ops.convert_to_numpy(PosteriorComparison()([left, right]))
    np.testing.assert_allclose(result, [[0, -300 + np.log(2)]], rtol=1e-6)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
@pytest.mark.parametrize("digits", ["logits", "probabilities"])
def test_extreme_digits_give_finite_values_and_gradients(size, digits, rng):
    values = torch.tensor(rng.choice([-size, 0, size], (2, 64, 10)), dtype=torch.float32)
    values.requires_grad_()
    inputs = values if digits == "logits" else values.softmax(-1)
    result = PosteriorComparison(digits)(list(inputs))
    loss = loss_of("logits", False)(torch.arange(64) % 2, result)
    loss.backward()
    assert torch.isfinite(result).all()
    assert torch.isfinite(values.grad).all()


@pytest.mark.parametrize("kind", ["logits", "probabilities", "sigmoid"])
@pytest.mark.parametrize("digits", ["logits", "probabilities"])
def test_the_gradient_is_that_of_finite_differences(digits, kind, rng):
    layer = PosteriorComparison(digits, kind, dtype="float64")
    values = torch.tensor(rng.normal(size=(2, 3, 5)), dtype=torch.float64)
    if digits == "probabilities":
        values = values.softmax(-1)
    left, right = (v.requires_grad_() for v in values)
    assert torch.autograd.gradcheck(lambda a, b: layer([a, b]), (left, right))


def test_swapped_images_give_the_other_order(rng):
    p, q = rng.normal(size=(2, 50, 10)).astype(np.float32)
    forth, back = (
        probabilities(keras.ops.convert_to_numpy(PosteriorComparison()(pair)), "logits")[:, 1]
        for pair in ([p, q], [q, p])
    )
    equal = (softmax(p) * softmax(q)).sum(-1)
    np.testing.assert_allclose(forth + back - equal, 1, atol=1e-6)


def test_the_layer_survives_saving(tmp_path, rng):
    sides = [keras.Input((4,), name=name) for name in ("left", "right")]
    layer = PosteriorComparison("probabilities", "sigmoid", name="comparison")
    keras.Model(sides, layer(sides)).save(tmp_path / "head.keras")
    loaded = keras.saving.load_model(tmp_path / "head.keras")
    assert loaded.layers[-1].get_config() == layer.get_config()
    inputs = [softmax(rng.normal(size=(5, 4))).astype(np.float32) for _ in sides]
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), layer(inputs))


def test_wrong_kinds_and_shapes_are_refused():
    with pytest.raises(ValueError, match="expected one of logits, probabilities, received 'odds'"):
        PosteriorComparison("odds")
    for shapes in ((3, 4), (1, 1)):
        with pytest.raises(ValueError, match="two inputs of one width of at least 2"):
            PosteriorComparison()([np.zeros((2, n), np.float32) for n in shapes])


@pytest.mark.parametrize("name", ["c4l2_ws", "auxws", "a_w_net", "auxnet2"])
def test_the_head_replaces_an_architectures_own(name, rng):
    model, own = build(name, head="posterior"), build(name)
    assert model.count_params() < own.count_params()
    images = rng.random((2, 6, 14, 14, 1), dtype=np.float32)
    outputs = model.predict(dict(zip(("left", "right"), images, strict=True)), verbose=0)
    kinds = ARCHS[name].outputs
    p, q = (probabilities(outputs[f"{s}_digit"], kinds[f"{s}_digit"]) for s in ("left", "right"))
    received = probabilities(outputs["comparison"], kinds["comparison"])[:, 1]
    expected = [brute_force(*pair) for pair in zip(p, q, strict=True)]
    np.testing.assert_allclose(received, expected, atol=1e-6)
    assert outputs["comparison"].shape == (6, *own.output["comparison"].shape[1:])


def test_the_head_needs_digits():
    with pytest.raises(UsageError, match="simple has only a comparison"):
        build("simple", head="posterior")
    with pytest.raises(UsageError, match="unknown head 'posterio': did you mean posterior"):
        build("auxws", head="posterio")


@pytest.fixture
def pairs(mnist, rng):
    return draw_pairs(mnist["train"], 50, rng)


def as_bytes(images):
    return sorted(image.tobytes() for image in images)


@pytest.mark.parametrize("pairing", ["drawn", "swapped", "renewed"])
def test_pairing_keeps_every_image_with_its_digit(pairing, pairs, rng):
    new = paired_anew(pairs, pairing, rng)
    known = {i.tobytes(): d for i, d in zip(pairs.left, pairs.left_digit, strict=True)}
    known |= {i.tobytes(): d for i, d in zip(pairs.right, pairs.right_digit, strict=True)}
    assert as_bytes([*new.left, *new.right]) == as_bytes([*pairs.left, *pairs.right])
    for images, digits in ((new.left, new.left_digit), (new.right, new.right_digit)):
        assert [known[i.tobytes()] for i in images] == list(digits)
    together = {frozenset(p) for p in zip(as_list(pairs.left), as_list(pairs.right), strict=True)}
    kept = [
        frozenset(p) in together for p in zip(as_list(new.left), as_list(new.right), strict=True)
    ]
    assert all(kept) if pairing != "renewed" else not all(kept)
    moved = (new.left != pairs.left).any((1, 2, 3)).mean()
    low, high = {"drawn": (0, 0), "swapped": (0.2, 0.8), "renewed": (0.8, 1)}[pairing]
    assert low <= moved <= high


def as_list(images):
    return [image.tobytes() for image in images]


def test_an_epochs_pairs_depend_on_the_epoch_alone(pairs):
    recipe = RECIPES["posterior"]
    vary = partial(varied, recipe, 1, pairs)
    batches = Batches(pairs, ARCHS["posterior"].outputs, 20, vary=vary)

    def epoch(number):
        batches.epoch = number
        return torch.cat([x["left"] for x, _ in batches])

    third = epoch(3)
    assert (third != epoch(4)).any()
    assert (third == epoch(3)).all()
    again = Batches(pairs, ARCHS["posterior"].outputs, 7, vary=vary)
    again.epoch = 3
    assert (torch.cat([x["left"] for x, _ in again]) == third).all()
    assert (varied(recipe, 2, pairs, 3)[0].left != vary(3)[0].left).any()
    assert varied(RECIPES["auxws"], 1, pairs, 0)[0] is pairs
    swapped = recipe.replace(pairing="swapped", distortion="none")
    assert varied(swapped, 1, pairs, 0)[0] is not pairs


def test_one_cycle_is_torchs():
    schedule = OneCycle(0.006, 100)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1)
    torchs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.006, 100)
    for step in range(100):
        expected = optimizer.param_groups[0]["lr"]
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-4, abs=1e-8)
        optimizer.step()
        if step < 99:
            torchs.step()
    config = keras.optimizers.schedules.serialize(schedule)
    assert keras.optimizers.schedules.deserialize(config).get_config() == schedule.get_config()
    assert np.isfinite(float(OneCycle(0.1, 1)(0)))


def test_averaging_ends_with_the_moving_average():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    average = MovingAverage(model, 0.75)
    for epoch, value in enumerate([8.0, 4.0, 0.0]):
        model.set_weights([np.full((1, 1), value)])
        average.update(model, epoch)
    average.give(model)
    expected = np.average([8, 4, 0], weights=[0.75**2, 0.75, 1])
    assert float(model.get_weights()[0][0, 0]) == pytest.approx(expected)


def test_a_training_ends_with_the_moving_average(tiny, workplace):
    recipe = tiny("posterior_s", epochs=3, averaging=0.6)
    run = train(recipe, "run", keep_checkpoints=True)
    files = [np.load(run.folder(1) / f"checkpoint-00{epoch}.npz") for epoch in (1, 2, 3)]
    moved = 0
    for i, variable in enumerate(load_round(run, 1).variables):
        if "float" in variable.dtype:
            values = np.array([file[f"{i:04d}"] for file in files])
            expected = np.average(values, axis=0, weights=[0.36, 0.6, 1])
            np.testing.assert_allclose(variable.numpy(), expected, atol=1e-6)
            moved += abs(expected - values[-1]).max() > 1e-4
    assert moved > 10


@pytest.mark.parametrize(
    ("kind", "as_logits"), [("logits", False), ("probabilities", False), ("probabilities", True)]
)
def test_label_smoothing_is_torchs(kind, as_logits, rng):
    """Where a recipe takes probabilities as logits, smoothed labels keep its double softmax."""
    values = torch.tensor(rng.normal(size=(6, 10)), dtype=torch.float32)
    digits = torch.arange(6)
    given_ = values if kind == "logits" else values.softmax(-1)
    logits = given_ if as_logits else values
    expected = torch.nn.functional.cross_entropy(logits, digits, label_smoothing=0.1)
    received = loss_of(kind, as_logits, 0.1)(digits, given_)
    assert float(received) == pytest.approx(float(expected), rel=1e-4)


def test_smoothed_labels_are_lowered(tiny, workplace):
    for name in ("auxws", "c4l2_ws"):
        run = train(tiny(name, label_smoothing=0.1), name)
        assert run.row(1)["engine"] == "lowered"


def test_a_study_keeps_the_pairs_that_are_wrong(tiny, tmp_path):
    settings = (Setting(tiny("posterior_s", epochs=3, validate_every=2)),)
    study = Study("own", "kpairs", (), "Own", settings, 1, (), ("posterior_s",))
    list(run_jobs(study.jobs(), tmp_path))
    (error,) = collect(study, tmp_path)["test_error_pct"]
    wrong = read_rows(tmp_path / "own-wrong.csv")
    assert len(wrong) == pytest.approx(error / 100 * 30)
    assert wrong["probability"].between(0.5, 1).all()
    for text in [*wrong["left"], *wrong["right"]]:
        assert to_image(text).shape == (14, 14)
        assert to_image(text).max() > 0.2
    assert list(read_rows(tmp_path / "own-curves.csv")["epoch"]) == [2, 3]


def test_a_study_of_scores_or_grades_keeps_no_wrong_pairs(tiny, idx_folder, image_folder, tmp_path):
    graded, _ = opened(tiny("posterior_s", data=str(image_folder), pairs=20, test_pairs=10))
    scored = tiny("ranker", data=str(idx_folder))
    jobs = [Trial(recipe, 1) for recipe in (scored, graded)]
    list(run_jobs(jobs, tmp_path))
    assert ["wrong" in load_result(tmp_path, job) for job in jobs] == [False, False]


def test_a_study_keeps_the_wrong_pairs_of_digits_with_scores(tiny, idx_folder, tmp_path):
    """Ties, which scores learn from, are not among them."""
    job = Trial(tiny("auxranker", ties="half", data=str(idx_folder)), 1)
    list(run_jobs([job], tmp_path))
    result = load_result(tmp_path, job)
    recipe, splits = opened(job.recipe)
    _, pairs = draw_round(recipe, 1, *splits)
    told = np.count_nonzero(pairs.comparison != 0.5)
    assert 0 < told < len(pairs)
    assert all(row["left_digit"] != row["right_digit"] for row in result["wrong"])
    share = len(result["wrong"]) / told
    assert 100 * share == pytest.approx(result["row"]["test"]["comparison_error_pct"])
