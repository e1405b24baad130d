"""What a score rests on: contributions that add up, hidden places, and pictures of both."""

import json
import subprocess
import sys
from copy import copy

import keras
import numpy as np
import pytest
from command_line import kpairs
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from PIL import Image

from kpairs.data.settings import PixelSettings
from kpairs.errors import InputError, UsageError
from kpairs.exports.runtime import PairModel, heat
from kpairs.exports.runtime.explain import contributions, explain_pixels, place_map
from kpairs.exports.runtime.heat import coloured
from kpairs.exports.writing.export import export_model
from kpairs.exports.writing.trained import Trained
from kpairs.networks import ARCHS, build

SHAPE = (20, 26, 1)  # which the second stage's places do not divide
LOOK = PixelSettings(*SHAPE, ink="mixed")
SQUARE = np.s_[6:10, 15:19]


def bright(size, **options):
    """A convolution that sees brightness in its first channel."""
    layer = layers.Conv2D(3, size, padding="same", activation="relu", **options)

    def apply(x):
        found = layer(x)
        kernel, bias = layer.get_weights()
        kernel[..., 0] = 1 / kernel[..., 0].size
        layer.set_weights([kernel, bias])
        return found

    return apply


def explained(folder, kind, head=None, seed=0):
    """A linear score of small maps, or of their maxima, in a file of its own."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    image = keras.Input(SHAPE)
    stages = [bright(3)(image)]
    stages.append(bright(3, strides=2)(stages[0]))
    pooled = stages if kind == "maps" else [layers.GlobalMaxPooling2D()(x) for x in stages]
    own = folder / f"{kind}-{seed}.keras"
    keras.Model(image, pooled).save(own)
    options = {"backbone": str(own), "input_shape": SHAPE}
    model = build("linear", 0, **options)
    (score,) = (w for w in model.trainable_weights if w.shape == (6, 1))
    (offset,) = (w for w in model.trainable_weights if w.shape == (1,))
    score.assign(rng.normal(size=(6, 1)) if head is None else np.reshape(head, (6, 1)))
    offset.assign([0.7])
    trained = Trained.from_architecture(model, ARCHS["linear"], (), options=options, pixels=LOOK)
    return export_model(trained, None, folder / f"{kind}-{seed}")[0].path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, brightness = tmp_path_factory.mktemp("explained"), [1, 0, 0, 1, 0, 0]
    return {
        "maps": explained(folder, "maps"),
        "brightness": explained(folder, "maps", brightness, 1),
        "largest": explained(folder, "vectors", brightness, 2),
    }


@pytest.fixture(scope="module")
def models(files):
    return {name: PairModel.load(file) for name, file in files.items()}


@pytest.fixture
def images(rng):
    return rng.random((5, *SHAPE), dtype=np.float32)


@settings(max_examples=30, deadline=None)
@given(
    stages=st.lists(st.tuples(*[st.integers(1, 9)] * 3), min_size=1, max_size=3),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    mirrored=st.booleans(),
    last=st.booleans(),
)
def test_maps_add_up_to_what_is_linear_in_means(stages, size, mirrored, last):
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(4, *stage)).astype(np.float32) for stage in stages]
    features = np.concatenate([stage.mean(axis=(2, 3)) for stage in maps], axis=1, dtype=float)
    if mirrored:
        features = (features[::2] + features[1::2]) / 2
    weights = rng.normal(size=features.shape[1])
    axes = [(1, 2)] * len(maps) if last else None
    given_maps = [np.moveaxis(stage, 1, -1) for stage in maps] if last else maps
    found = place_map(given_maps, weights, 0.3, size, axes=axes, mirrored=mirrored)
    assert found.shape == (len(features), *size)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), features @ weights + 0.3, atol=1e-6)
    if mirrored:  # a mirror image's own map is turned back
        pair = [np.concatenate([stage[:1], stage[:1, :, :, ::-1]]) for stage in maps]
        both = place_map(pair, weights, 0.3, size, mirrored=True)
        alone = place_map([stage[:1] for stage in maps], weights, 0.3, size)
        np.testing.assert_allclose(both, alone, atol=1e-6)


def test_contributions_add_up_to_the_scores(models, images):
    model = models["maps"]
    scores = model.compare(images, images)["left_score"][:, 0]
    maps, found, offset = contributions(model, images)  # an odd number of images
    assert offset == pytest.approx(0.7)
    for sums in (found, maps.sum(axis=(1, 2))):
        np.testing.assert_allclose(sums, scores, rtol=1e-4, atol=1e-5)
    both = explain_pixels(model, *images[:2])
    assert (both.method, both.quantity) == ("contributions", "difference")
    for values, constant, image, sign in zip(
        both.maps, both.constants, maps, (1, -1), strict=False
    ):
        assert values.sum() == pytest.approx(sign * (scores[0] - scores[1]), rel=1e-4)
        np.testing.assert_allclose(values - image, (constant - offset) / values.size, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "backbone"),
    [
        ("linear", "lite0"),
        ("linear", "MobileNetV2"),
        ("linear", "torchvision/resnet18"),
        ("ranker", "MobileNetV2"),
    ],
)
def test_known_networks_name_their_maps(arch, backbone, tmp_path, rng):
    shape = (40, 32, 3)
    options = {"backbone": backbone, "input_shape": shape}
    options |= {"size": 64} if arch == "linear" else {}
    model = build(arch, 0, **options)
    pixels = PixelSettings(*shape, ink="mixed")
    trained = Trained.from_architecture(model, ARCHS[arch], (), options=options, pixels=pixels)
    exported = PairModel.load(export_model(trained, None, tmp_path / "network")[0].path)
    images = rng.random((3, *shape), dtype=np.float32)
    maps, scores, _ = contributions(exported, images)
    expected = exported.compare(images, images)["left_score"][:, 0]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), expected, rtol=1e-4, atol=1e-5)
    assert maps.std(axis=(1, 2)).min() > 0


@pytest.mark.parametrize(
    ("name", "method", "share"),
    [("brightness", "contributions", 0.75), ("largest", "occlusion", 0.6)],
)
def test_a_square_that_alone_decides_is_found(name, method, share, models, rng):
    """One image, and the left and the right one of two."""
    dark = rng.uniform(0, 0.05, SHAPE).astype(np.float32)
    painted = dark.copy()
    painted[SQUARE] = 1
    around = np.s_[5:11, 14:20]
    for asked, place in (((painted,), 0), ((painted, dark), 0), ((dark, painted), 1)):
        found = explain_pixels(models[name], *asked)
        values = found.maps[place]
        assert found.method == method
        assert found.values[place] > 0
        peak = np.unravel_index(values.argmax(), values.shape)
        assert np.all(np.abs(np.subtract(peak, (7.5, 16.5))) <= 2)
        gained = values - np.median(values)
        assert gained[around].sum() > share * np.abs(gained).sum()
        if method == "contributions":  # elsewhere the images are alike
            assert np.ptp(np.delete(values, np.r_[4:12], axis=0)) < 0.1 * values.max()


def test_weights_drawn_anew_give_another_map(models, images):
    """Adebayo et al., Sanity checks for saliency maps, 2018: a picture's edges alone would not."""
    one, other = (contributions(models[name], images)[0] for name in ("maps", "brightness"))
    for a, b in zip(one, other, strict=True):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.9


def test_a_file_whose_maps_do_not_add_up_is_refused(models, images):
    model = models["maps"]
    about = model.metadata["maps"]
    for wrong in (
        {"values": about["values"][::-1]},
        {"values": about["values"][:1], "axes": about["axes"][:1]},
        {"offset": None},
        {"axes": [[0, 7]] * 2},
        {"weights": "nowhere"},
        {"mirrored": "perhaps", "values": 3},
    ):
        odd = copy(model)
        odd.metadata = {**model.metadata, "maps": {**about, **wrong}}
        with pytest.raises(InputError):
            odd.explain(images[0])


def test_grades_and_comparisons_are_explained_by_hidden_places(exported, images):
    model = PairModel.load(exported("auxws")[1][0].path)
    pictures = images[:2, :14, :14]
    grade = explain_pixels(model, pictures[0])
    assert (grade.method, grade.quantity, grade.maps[0].shape) == ("occlusion", "grade", (14, 14))
    assert np.ptp(grade.maps[0]) > 0
    both = explain_pixels(model, *pictures)
    assert (both.method, both.quantity) == ("occlusion", "odds")
    values = model.compare(*(picture[None] for picture in pictures))
    holds = model.as_probabilities(values)["comparison"][0]
    assert both.values == pytest.approx(np.log(holds[0] / holds[1]) * np.array([1, -1]), rel=1e-4)
    only = copy(model)
    only.outputs = {"comparison": model.outputs["comparison"]}
    assert explain_pixels(only, *pictures).values == pytest.approx(both.values)
    with pytest.raises(UsageError, match=r"auxws only compares .* expected two images"):
        explain_pixels(only, pictures[0])


def test_letters_of_names_are_drawn():
    font = heat._font()
    drawn = {bytes(font.getmask(letter)) for letter in "éüśЖ\uffff"}  # the last is in no font
    assert len(drawn) == 5


def test_grey_keeps_colours_in_order():
    strip = coloured(np.linspace(-3, 3, 13)[None], 3).convert("L")
    steps = np.diff(np.asarray(strip, int)[0])
    assert steps.min() > 0.6 * steps.mean()
    assert steps.max() < 1.4 * steps.mean()


def test_the_command_line(files, tmp_path, images):
    names = [tmp_path / f"{name}.png" for name in "ab"]
    for name, image in zip(names, images, strict=False):
        Image.fromarray(np.uint8(255 * image[..., 0])).save(name)
    for name, method in (("maps", "contributions"), ("largest", "occlusion")):
        said = kpairs("explain", files[name], *names, "--out", tmp_path / f"{name}.png")
        assert f"Method: {method}, " in said
        with Image.open(tmp_path / f"{name}.png") as drawn:
            assert drawn.width > 2 * 320
    told = json.loads(kpairs("explain", files["maps"], names[0], "--json"))
    (one,) = told["images"]
    assert told["method"] == "contributions"
    assert np.sum(one["map"]) == pytest.approx(one["value"], rel=1e-4)
    said = kpairs("explain", files["maps"], names[0], "--out", names[0], "--force", expect=1)
    assert "reads that file" in said
    kpairs("explain", files["maps"], tmp_path / "none.png", expect=4)
    for name in ("maps", "largest"):
        sheet = tmp_path / f"sheet-{name}.png"
        kpairs("rank", files[name], *names, "--sheet", sheet, "--maps")
        with Image.open(sheet) as drawn:
            shown = np.asarray(drawn, int)
        assert np.ptp(shown[6:102, 102:198], axis=-1).max() > 60  # colours beside a grey picture
    assert "expected --sheet" in kpairs("rank", files["maps"], *names, "--maps", expect=2)
    both = (files["maps"], files["brightness"], *names)
    said = kpairs("rank", *both, "--sheet", tmp_path / "two.png", "--maps", expect=2)
    assert "expected one model" in said


def test_explanations_need_neither_keras_nor_torch(files, tmp_path):
    Image.new("L", SHAPE[1::-1], 90).save(tmp_path / "grey.png")
    script = (
        "import sys\n"
        "from kpairs.cli import main\n"
        f"main(['explain', {str(files['maps'])!r}, 'grey.png', '--out', 'map.png'], "
        "standalone_mode=False)\n"
        "print(sorted({'keras', 'torch', 'matplotlib'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"
