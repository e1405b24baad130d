"""Images of one's own from files to a prediction: the same pixels and decisions everywhere."""

import json
import logging

import keras
import numpy as np
import pytest
from command_line import kpairs
from PIL import Image
from rounds import opened

from kpairs import Run, train
from kpairs.errors import InputError, UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.runtime.predict import predict_pairs
from kpairs.exports.writing.export import export
from kpairs.models.outputs import decisions
from kpairs.training.batches import Batches
from kpairs.training.evaluate import evaluate, run_splits
from kpairs.training.network import load_round, load_weights
from kpairs.training.prepare import draw_round
from kpairs.training.round import Machine, Round, train_round


@pytest.fixture
def trained(tmp_path, tiny):
    """A quick training of `posterior` on a folder."""

    def make(folder, **changes):
        few = {"pairs": 20, "test_pairs": 6, **changes}
        return train(tiny("posterior", data=str(folder), **few), tmp_path / "run", engine="keras")

    return make


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Prepared images go into a folder of the test's own."""
    monkeypatch.setenv("KPAIRS_DATA", str(tmp_path / "cache"))


def drawn(grade, rng, *, dark, colour, opacity, size):
    """A picture whose block is the larger and fuller the higher its grade, as a Pillow image."""
    height, width = size
    paper, ink = (255, 0) if dark else (0, 255)
    picture = np.full((height, width, 3), paper, np.uint8)
    rows, columns = height // 5 + grade * height // 8, width // 5 + grade * width // 8
    top, left = (int(rng.integers(1, n - m)) for n, m in ((height, rows), (width, columns)))
    shade = rng.integers(0, 60, 3) if colour else rng.integers(0, 60)
    block = (slice(top, top + rows), slice(left, left + columns))
    picture[block] = np.abs(ink - shade).astype(np.uint8)
    if opacity:
        seen = np.zeros((height, width, 1), np.uint8)
        seen[block] = 200
        return Image.fromarray(np.concatenate([picture, seen], axis=-1))
    return Image.fromarray(picture) if colour else Image.fromarray(picture[..., 0])


def write(
    folder,
    grades,
    count,
    *,
    dark=False,
    colour=False,
    opacity=False,
    turned=False,
    ending="png",
    size=(24, 20),
):
    rng = np.random.default_rng(5)
    for grade, name in enumerate(grades):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = drawn(grade, rng, dark=dark, colour=colour, opacity=opacity, size=size)
            options = {}
            if turned and i % 2:  # as a phone held on its side stores it
                image, options["exif"] = image.transpose(Image.Transpose.ROTATE_90), Image.Exif()
                options["exif"][0x0112] = 6
            image.save(folder / name / f"{i}.{ending}", **options)
    return folder


CASES = {
    "dark on white": {"dark": True},
    "bright on black": {"ending": "bmp"},
    "colour photographs of a phone": {"colour": True, "turned": True, "ending": "jpg"},
    "ink on nothing": {"dark": True, "opacity": True},
    "wide TIFFs": {"size": (16, 40), "ending": "tiff", "colour": True, "dark": True},
    "WebP": {"colour": True, "ending": "webp"},
}
SELDOM = ("WebP", "wide TIFFs", "bright on black", "ink on nothing")


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.slow) if c in SELDOM else c for c in CASES],
)
def test_all_stations_decide_alike(case, tmp_path, trained):
    """Training, evaluation, exported file and prediction, by any batch: 100 % the same."""
    folder = write(tmp_path / "own", "012", 20, **CASES[case])
    run = trained(folder, pairs=40, test_pairs=30, epochs=2)
    model = load_round(run, 1)
    _, pairs = draw_round(run.recipe, 1, *run_splits(run)[1])
    expected = model.predict(Batches(pairs, (), 7), verbose=0)
    kinds = dict.fromkeys(("comparison", "left_grade", "right_grade"), "logits")
    decided = {name: decisions(values, kinds[name]) for name, values in expected.items()}
    wrong = 100 * np.mean(decided["comparison"] != pairs.comparison)
    assert run.metrics["rounds"][0]["test"]["comparison_error_pct"] == pytest.approx(wrong)
    assert evaluate(run)[0]["test"] == run.metrics["rounds"][0]["test"]

    (made,) = export(run)
    assert list(made.description["outputs"]) == list(kinds)
    files = run.source().files("test")
    sides = [[files[i] for i in side.rows] for side in (pairs.left, pairs.right)]
    loaded = PairModel.load(made.path)
    arrays = [[np.asarray(Image.open(f)) for f in side] for side in sides]
    for images in (sides, [[Image.open(f) for f in side] for side in sides], arrays):
        if images is arrays and CASES[case].get("turned"):
            continue  # an array has no EXIF data
        if images is arrays and CASES[case].get("opacity"):
            images = [[a[None] for a in side] for side in arrays]
        received = loaded.predict(*images)
        for name, kind in kinds.items():
            np.testing.assert_array_equal(decisions(received[name], kind), decided[name])
    rows = predict_pairs(made.path, list(zip(*sides, strict=True)))
    singles = [predict_pairs(made.path, [pair])[0] for pair in list(zip(*sides, strict=True))[:5]]
    for answers in (rows, singles):
        n = len(answers)
        assert [row["left_not_higher"] for row in answers] == decided["comparison"][:n].tolist()
        for side in ("left", "right"):
            seen = [run.recipe.data.classes.index(row[f"{side}_grade"]) for row in answers]
            assert seen == decided[f"{side}_grade"][:n].tolist()
            assert not any(row[f"{side}_doubtful"] for row in answers)


@pytest.mark.slow
def test_the_settings_stand_everywhere(tmp_path, trained):
    """In the recipe of the run, in the file's metadata, beside it and on its card."""
    folder = write(tmp_path / "own", "012", 20, dark=True)
    run = trained(folder, pairs=40, test_pairs=30)
    recipe = Run.open(run.path).recipe
    stored = (
        recipe.data.image_size,
        recipe.data.channels,
        recipe.data.fit,
        recipe.data.ink,
        recipe.data.classes,
    )
    assert stored == ((20, 24), 1, "pad", "dark", ("0", "1", "2"))
    (made,) = export(run)
    settings = {
        **{"height": 24, "width": 20, "channels": 1, "fit": "pad", "ink": "dark"},
        "rounded": True,
    }
    loaded = PairModel.load(made.path)
    assert loaded.metadata["pixels"] == loaded.pixels.to_dict() == settings
    beside = json.loads((run.path / "posterior.onnx.json").read_text())
    assert beside["pixels"] == settings
    card = (run.path / "posterior.onnx.md").read_text()
    assert "20x24 grey pixels (width x height)" in card
    assert "dark on bright and inverted" in card
    assert "digit" not in card
    assert "digit" not in (run.path / "round-01/history.csv").read_text()
    assert "grade_error_pct" in (run.path / "metrics.json").read_text()


@pytest.mark.slow
def test_ink_that_the_network_never_saw_is_a_warning(tmp_path, trained, caplog):
    folder = write(tmp_path / "own", "012", 10, dark=True)
    run = trained(folder)
    (made,) = export(run)
    bright = write(tmp_path / "bright", "0", 2)
    pair = bright / "0" / "0.png", folder / "0" / "0.png"
    with caplog.at_level(logging.WARNING, "kpairs"):
        (row,) = predict_pairs(made.path, [pair])
    assert (row["left_doubtful"], row["right_doubtful"]) == (True, False)
    assert row["left_inverted"]  # as in training: no guess
    assert "1 of 2 pictures look bright on dark, the first is" in caplog.text
    caplog.clear()
    (row,) = predict_pairs(made.path, [pair[:1] * 2], ink="bright")  # whoever knows says so
    assert not row["left_inverted"]
    assert all("no better than chance" in message for message in caplog.messages)


def test_a_report_and_its_image_size(tmp_path, tiny):
    folder = write(tmp_path / "own", "012", 10)
    for changes in ({"image_size": (28, 28)}, {"channels": 3}):
        with pytest.raises(UsageError, match="auxws is for 14x14 grey images, as in its report"):
            train(tiny("auxws", data=str(folder), **changes), tmp_path / "none")
    run = train(tiny("auxws", data=str(folder), pairs=20, test_pairs=6), tmp_path / "run")
    assert (run.recipe.data.image_size, run.recipe.data.channels) == ((14, 14), 1)
    assert load_round(run, 1).input["left"].shape == (None, 14, 14, 1)
    with pytest.raises(UsageError, match="takes images of at least 10x10 pixels, received 9x12"):
        train(tiny("posterior", data=str(folder), image_size=(9, 12)), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert not list((tmp_path / "cache").rglob("*9x12*"))


@pytest.mark.slow
def test_digits_at_another_size(tmp_path, tiny):
    """Of a named source too; what a recipe leaves open is the source's own."""
    run = train(tiny("posterior", image_size=(28, 28)), tmp_path / "run", engine="keras")
    assert load_round(run, 1).input["left"].shape == (None, 28, 28, 1)
    assert (run.recipe.data.ink, run.recipe.data.word) == ("auto", "digit")
    (made,) = export(run)
    pixels = PairModel.load(made.path).pixels
    assert (pixels.shape, pixels.ink, pixels.rounded) == ((28, 28, 1), "auto", False)


def test_few_images_are_used_again(tmp_path, tiny, caplog):
    folder = write(tmp_path / "own", "012", 8)
    with caplog.at_level(logging.INFO, "kpairs"):
        recipe, splits = opened(tiny("posterior", data=str(folder), pairs=1000, test_pairs=1000))
    counts = [len(split) for split in splits]
    assert [recipe.data.pairs, recipe.data.test_pairs] == [n * (n - 1) for n in counts]
    assert f"own: all {recipe.data.pairs} train pairs (1,000 were wanted)" in caplog.text
    assert opened(recipe)[0] == recipe


def test_photographs_are_mirrored_unless_the_user_chose(tmp_path, tiny):
    photos = write(tmp_path / "photos", "01", 15, colour=True)
    drawings = write(tmp_path / "drawings", "01", 15)
    recipe = tiny("posterior", distortion="elastic", pairs=20, test_pairs=2)

    def varied(out, **how):
        variation = train(recipe, tmp_path / out, engine="keras", **how).recipe.variation
        return variation.flip, variation.distortion

    assert varied("fitted", data=photos) == ("horizontal", "none")
    chosen = {"flip": "none", "distortion": "affine"}
    assert varied("chosen", data=photos, **chosen) == ("none", "affine")
    assert varied("drawn", data=drawings) == ("none", "elastic")
    recipe = recipe.replace(data=str(photos))  # a recipe of one's own is meant as it is
    assert varied("meant") == ("none", "elastic")


class _Stop(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise InterruptedError


def test_variations_of_stored_images_follow_the_epoch(tmp_path, tiny):
    """A training that was stopped and goes on sees what one sees that never stopped."""
    folder = write(tmp_path / "own", "012", 10, colour=True)
    changes = {"flip": "both", "rotation": 10.0, "crop": 0.2, "brightness": 0.2}
    recipe = tiny("posterior", data=str(folder), pairs=20, test_pairs=6, epochs=3, **changes)
    recipe, splits = opened(recipe)
    pairs = draw_round(recipe, 1, *splits)
    machine = Machine(engine="keras")
    weights = []
    for name, stops in (("whole", False), ("stopped", True)):
        job = Round(recipe, 1, tmp_path / name, pairs, 3, machine)
        if stops:
            with pytest.raises(InterruptedError):
                train_round(job, [_Stop()])
        train_round(job)
        weights.append(load_weights(recipe, 3, None, tmp_path / name / "model.keras").get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    plain = recipe.replace(flip="none", rotation=0.0, crop=0.0, brightness=0.0)
    train_round(Round(plain, 1, tmp_path / "plain", pairs, 3, machine))
    last = load_weights(recipe, 3, None, tmp_path / "plain" / "model.keras").get_weights()
    assert any((one != other).any() for one, other in zip(weights[0], last, strict=True))


def test_the_command_line_from_folder_to_prediction(tmp_path, workplace):
    folder = write(tmp_path / "photos", ("low", "medium", "high"), 12, colour=True, size=(48, 64))
    message = kpairs("train", "--arch", "posterior", "--data", folder, expect=2)
    assert "if low < medium < high, add --classes low,medium,high" in message
    order = ("--classes", "low,medium,high")
    quick = ("--epochs", "1", "--pairs", "20", "--test-pairs", "6", "--image-size", "32x24")
    kpairs("train", "--arch", "posterior", "--data", folder, *order, *quick, "--out", "run")
    kpairs("data", folder, *order, "--samples", "samples")
    answer = json.loads(  # it exports the run itself
        kpairs("predict", "run", "samples/low.png", "samples/high.png", "--json")
    )
    assert set(answer) >= {"left_grade", "right_grade"}
    assert not [name for name in answer if "digit" in name]
    table = kpairs("predict", "run/posterior.onnx", "samples", "samples/low.png")
    assert "left = right" in table
    assert "removed" in kpairs("data", "--clean")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "one"], 4, "at least two class folders"),
        (["--data", "empty.csv"], 4, "expected images"),
        (["--data", "same.csv"], 4, "at least two grades, received '1' only"),
        (["--data", "train.csv"], 4, "for the test split, received none of 1, 2"),
        (["--data", "two.csv"], 4, "two images or more in the test split, received one"),
        (["--data", "own", "--image-size", "8"], 2, "at least 10x10 pixels, received 8x8"),
        (["--data", "own", "--image-size", "64x"], 2, "expected one such as 64 or 64x48"),
        (["--data", "own", "--channels", "2"], 2, "unknown channels 2: expected one of 1, 3"),
        (
            ["--data", "own", "--classes", "0,1"],
            2,
            "own in their order, lowest first (0, 1, 2); received 0, 1",
        ),
        (["--data", "broken.csv"], 4, "broken.csv row 17: "),
    ],
)
def test_bad_input_is_one_line_before_training(arguments, code, message, tmp_path, workplace):
    write(workplace / "own", "012", 10)
    write(workplace / "one", "0", 5)
    rows = [f"own/{g}/{i}.png,{g}" for g in "012" for i in range(10)]
    tables = {
        "empty": ["image,grade"],
        "same": ["image,grade", *(f"own/0/{i}.png,1" for i in range(6))],
        "train": ["image,grade,split", "own/0/1.png,1,train", "own/1/1.png,2,train"],
        "two": ["image,grade,split", f"{rows[0]},test", *(f"{row},train" for row in rows[1:])],
        "broken": ["image,grade", *rows[:15], "own/gone.png,1", *rows[15:]],
    }
    for name, lines in tables.items():
        (workplace / f"{name}.csv").write_text("\n".join(lines) + "\n")
    text = kpairs("train", "--arch", "posterior", *arguments, "--out", "run", expect=code)
    last = [line for line in text.splitlines() if line.startswith("Error: ")]
    assert len(last) == 1
    assert message in last[0]
    assert not (workplace / "run").exists()


def test_images_that_are_gone_after_a_training(tmp_path, trained):
    folder = write(tmp_path / "own", "012", 10)
    run = trained(folder)
    (folder / "1" / "3.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"1/3.png: expected an image"):
        evaluate(run)
