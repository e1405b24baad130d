"""The page in a real browser: strokes drawn by events, answers read from what it shows."""

import base64
import struct
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pages import running, until
from PIL import ExifTags, Image, ImageCms, PngImagePlugin
from skimage import data as photographs

from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
from kpairs.data.splits import draw_pairs
from kpairs.exports.runtime import PairModel
from kpairs.exports.web.page import _training_images, standalone
from kpairs.exports.writing.export import export_model
from kpairs.exports.writing.formats import Html
from kpairs.judging.reference import make_reference, thumbnails

pytestmark = pytest.mark.browser
# Of a pad of 280 pixels a side.
THREE = [
    [(90, 70), (140, 50), (185, 80), (150, 125), (120, 135), (190, 180), (145, 225), (85, 205)]
]
SEVEN = [[(80, 60), (200, 60), (160, 140), (130, 230)]]


@pytest.fixture
def tab(browser):
    """A page whose errors fail the test."""
    page, errors = browser.new_page(viewport={"width": 400, "height": 800}), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


@pytest.fixture(scope="module")
def models(exported):
    return {name: PairModel.load(exported(name)[1][0].path) for name in ("auxws", "conv_1")}


@pytest.fixture(scope="module")
def server(models):
    with running(models) as server:
        yield server


@pytest.fixture(scope="module")
def file(exported, tmp_path_factory):
    trained, (onnx, *_), pairs = exported("auxws")
    file = tmp_path_factory.mktemp("page") / "auxws.html"
    file.write_text(standalone(trained.proto(20), PairModel.load(onnx.path), pairs))
    return file


def draw(tab, side, strokes):
    pad = tab.locator(f'[data-is="pad-{side}"] canvas').bounding_box()
    for stroke in strokes:
        places = [
            (pad["x"] + x * pad["width"] / 280, pad["y"] + y * pad["height"] / 280)
            for x, y in stroke
        ]
        tab.mouse.move(*places[0])
        tab.mouse.down()
        for place in places[1:]:
            tab.mouse.move(*place, steps=3)
        tab.mouse.up()


def shown(tab):
    """Each model's card: what it saw of both sides, and what it says."""
    until(tab, "!asking && !waiting")
    return tab.evaluate(
        """cards.map((card) => ({
          seen: SIDES.map((side) => {
            const canvas = find("seen", find(side, card)), {width, height} = canvas;
            const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
            return Array.from({length: width * height}, (_, i) => data[4 * i]);
          }),
          verdict: find("verdict", card).textContent,
          doubt: find("doubt", card).textContent,
          holds: find("scale", card).getAttribute("aria-label"),
          bars: SIDES.map((side) => find("bars", find(side, card)).getAttribute("aria-label")),
        }))"""
    )


def check(card, model):
    """What a card says is what the model says of what the card shows."""
    left, right = (np.float32(seen).reshape(1, 14, 14, 1) / 255 for seen in card["seen"])
    found = model.as_probabilities(model.compare(left, right))
    holds = found["comparison"][0, 1]
    assert float(card["holds"].split(") = ")[1].removesuffix(" %")) == pytest.approx(
        100 * holds, abs=1
    )
    assert ("≤" if holds > 0.5 else ">") in card["verdict"]
    for name, bars in zip(model.of_class, card["bars"], strict=bool(model.of_class)):
        assert bars.startswith(f"{name.split('_')[0]}: {found[name][0].argmax()}, ")
    for pixels in (left, right):  # placed as MNIST's are: the mass in the middle
        mass = pixels[0, :, :, 0]
        for axis in (0, 1):
            middle = (mass.sum(axis=1 - axis) @ (np.arange(14) + 0.5)) / mass.sum()
            assert middle == pytest.approx(7, abs=0.3)
        assert np.ptp(np.nonzero(mass > 0.2)[0]) in (8, 9, 10)  # 20 of 28 pixels, halved


def test_drawn_strokes_are_answered(tab, server, models):
    tab.goto(server.url)
    draw(tab, "left", THREE)
    assert shown(tab)[0]["verdict"] == ""  # half a pair
    draw(tab, "right", SEVEN)
    for card, model in zip(shown(tab), models.values(), strict=True):
        check(card, model)


def test_the_switch_shows_which_places_decide(tab, server):
    tab.goto(server.url)
    for side, strokes in (("left", THREE), ("right", SEVEN)):
        draw(tab, side, strokes)
    shown(tab)
    maps = "cards.flatMap((card) => SIDES.map((side) => find('map', find(side, card))))"
    assert tab.evaluate(f"() => {maps}.every((map) => map.hidden)")
    tab.check('[data-is="explain"]')
    until(tab, f"{maps}.every((map) => !map.hidden && map.naturalWidth === 14)")
    assert "occlusion" in tab.inner_text('[data-is="method"] >> nth=0')


def test_a_page_with_the_network_inside_asks_nobody(tab, file, exported):
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(file.as_uri())
    draw(tab, "left", SEVEN)
    draw(tab, "right", THREE)
    (card,) = shown(tab)
    check(card, PairModel.load(exported("auxws")[1][0].path))
    assert asked == [file.as_uri()]
    assert "This browser computes what onnxruntime does" in tab.inner_text("footer")


def test_a_page_whose_weights_were_changed_says_so(tab, file, tmp_path):
    text = file.read_text()
    start = text.index('"weights": "') + 1000
    changed = tmp_path / "changed.html"
    changed.write_text(text[:start] + "AAAAAAAA" * 500 + text[start + 4000 :])
    tab.goto(changed.as_uri())
    assert "do not trust" in tab.inner_text("footer")


def test_dropped_pictures_are_ranked(tab, file, tmp_path, rng):
    """Files as a user picks them; the highest score first."""
    files = [tmp_path / f"{i}.png" for i in range(5)]
    for path in files:
        Image.fromarray(rng.integers(0, 120, (28, 28), dtype=np.uint8)).save(path)
    tab.goto(file.as_uri())
    tab.evaluate("() => find('folder').removeAttribute('webkitdirectory')")
    tab.set_input_files('[data-is="folder"]', files)
    until(tab, "find('progress').textContent === '5 of 5'")
    order = tab.evaluate("[...find('ranked').querySelectorAll('img')].map((image) => image.alt)")
    scores = tab.evaluate("[...find('ranked').children].map((item) => item.textContent)")
    assert sorted(order) == [path.name for path in files]
    numbers = [float(score.split()[1]) for score in scores]
    assert numbers == sorted(numbers, reverse=True)
    assert [score.split()[2] for score in scores] == order
    tab.evaluate("() => { find('ranking').open = true; }")
    with tab.expect_download() as download:
        tab.click('[data-is="download"]')
    rows = download.value.path().read_text().splitlines()
    assert rows[0] == "file,score,rank"
    assert [row.split(",")[0].strip('"') for row in rows[1:]] == order


def test_a_pair_on_which_models_disagree(tab, models, rng):
    samples = rng.integers(0, 256, (60, 14, 14, 1), dtype=np.uint8)
    with running(models, samples) as server:
        tab.goto(server.url)
        tab.click('[data-is="disagree"]')
        until(tab, "pads.every((pad) => pad.picture) || find('message').textContent")
        if not tab.inner_text('[data-is="message"]'):
            first, second = (card["verdict"] for card in shown(tab))
            assert ("≤" in first) != ("≤" in second)


@pytest.mark.slow
def test_a_scoring_network_says_which_side_ranks_higher(tab, exported, tmp_path, rng):
    trained, (onnx, *_), pairs = exported("ranker")
    file = tmp_path / "ranker.html"
    file.write_text(standalone(trained.proto(20), PairModel.load(onnx.path), pairs))
    tab.goto(file.as_uri())
    for side in ("left", "right"):
        path = tmp_path / f"{side}-photo.png"
        Image.fromarray(rng.integers(0, 120, (28, 28), dtype=np.uint8)).save(path)
        tab.set_input_files(f'[data-is="pad-{side}"] [data-is="file"]', path)
    until(tab, "pads.every((pad) => pad.picture) && find('verdict').textContent")
    (card,) = shown(tab)
    higher = "right" if float(card["holds"].split(" = ")[1].removesuffix(" %")) > 50 else "left"
    assert card["verdict"] == f"{higher} ranks higher"
    assert tab.inner_text('[data-is="end-right"]') == "right ranks higher"
    assert tab.inner_text('[data-is="pad-left"] [data-is="name"]') == "left-photo.png"


def prepared_by_the_page(tab, path, settings):
    """The network's input that the page makes of a file."""
    return tab.evaluate(
        """async ([base64, name, settings]) => {
          const {canvas} = await pictureOf(new File([bytesOf(base64)], name));
          const {width, height} = canvas;
          return Array.from(
            prepare(canvas.getContext("2d").getImageData(0, 0, width, height), settings));
        }""",
        [base64.b64encode(path.read_bytes()).decode(), path.name, settings.to_dict()],
    )


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("ink", ["auto", "dark", "mixed"])
def test_pictures_become_what_python_makes_of_them(tab, file, tmp_path, rng, fit, ink):
    tab.goto(file.as_uri())
    for height, width, channels in ((28, 28, 1), (37, 21, 3), (9, 30, 1)):
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        picture[0], picture[-1] = (255, 255) if channels == 1 else (0, 0)
        path = tmp_path / "picture.png"
        Image.fromarray(picture).save(path)
        settings = PixelSettings(12, 15, channels, fit, ink, rounded=channels == 3)
        expected = prepare(path, settings).pixels
        np.testing.assert_allclose(
            prepared_by_the_page(tab, path, settings),
            expected.ravel(),
            atol=1e-6 + settings.rounded / 255,
        )


@pytest.mark.parametrize("ending", ["png", "webp", "jpg"])
def test_turned_pictures_and_colour_profiles_are_read_as_python_reads_them(
    tab, file, tmp_path, rng, ending
):
    tab.goto(file.as_uri())
    picture = np.zeros((24, 16, 3), np.uint8)
    picture[:12, :8], picture[12:, 8:], picture[12:, :8] = (250, 20, 60), (30, 200, 90), 128
    image, path = Image.fromarray(picture), tmp_path / f"picture.{ending}"
    settings = PixelSettings(8, 8, 3, "stretch", "mixed")
    lossless = {"lossless": True} if ending == "webp" else {"quality": 100, "subsampling": 0}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    for further in (*({"exif": exif(turn)} for turn in range(1, 9)), {"icc_profile": swapped}):
        image.save(path, **(lossless if ending != "png" else {}), **further)
        expected = prepare(path, settings).pixels.ravel()
        received = prepared_by_the_page(tab, path, settings)
        np.testing.assert_allclose(received, expected, atol=0.02, err_msg=str(further)[:30])


def exif(turn):
    data = Image.Exif()
    data[ExifTags.Base.Orientation] = turn
    return data


def test_gamma_of_a_png_changes_nothing(tab, file, tmp_path):
    tab.goto(file.as_uri())
    info, path = PngImagePlugin.PngInfo(), tmp_path / "picture.png"
    info.add(b"gAMA", struct.pack(">I", 100_000))
    Image.fromarray(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)).save(path, pnginfo=info)
    assert b"gAMA" in path.read_bytes()
    settings = PixelSettings(8, 8, 1, "stretch", "mixed")
    received = prepared_by_the_page(tab, path, settings)
    np.testing.assert_allclose(received, prepare(path, settings).pixels.ravel(), atol=1e-6)


def test_a_page_of_dark_ink_inverts_files_alone_and_warns(tab, exported, tmp_path, rng):
    """Samples are the network's inputs already, and strokes are bright."""
    trained, _, pairs = exported("auxws")
    dark = replace(trained, pixels=PixelSettings(ink="dark"))
    (page,) = export_model(dark, pairs, tmp_path / "dark", [Html()])
    tab.goto(page.path.as_uri())
    tab.evaluate("Math.random = () => 0.51")  # number 20 of 40 samples
    tab.click('[data-is="samples"]')
    (card,) = shown(tab)
    np.testing.assert_array_equal(card["seen"][0], np.rint(255 * pairs.left[10]).ravel())
    assert card["doubt"] == ""
    for side, ink in (("left", 255), ("right", 0)):
        picture = np.full((28, 28), 255 - ink, np.uint8)
        picture[10:18, 12:16] = ink
        Image.fromarray(picture).save(tmp_path / f"{side}.png")
        tab.set_input_files(f'[data-is="pad-{side}"] [data-is="file"]', tmp_path / f"{side}.png")
    until(tab, "pads.every((pad) => pad.picture.file)")
    (card,) = shown(tab)
    assert card["seen"][1][0] == 0  # dark ink on bright, inverted
    assert card["doubt"].startswith("The left picture looks bright on dark; auxws is for pictures")
    assert "The right" not in card["doubt"]
    draw(tab, "left", THREE)
    (card,) = shown(tab)
    assert card["seen"][0][0] == 0
    assert card["doubt"] == ""


def test_a_page_of_one_file_names_pictures_unlike_the_training_images(
    tab, exported, mnist, tmp_path, rng
):
    """As `Reference.distance` does, also of large pictures with colours."""
    trained, _, pairs = exported("auxws")
    many = draw_pairs(mnist["train"], 500, seed=0)
    known = make_reference(thumbnails(np.concatenate([many.left, many.right])), np.arange(1000))
    known_to = replace(trained, reference=known)
    (page,) = export_model(known_to, pairs, tmp_path / "known", [Html()])
    tab.goto(page.path.as_uri())
    Image.fromarray(photographs.camera()).save(tmp_path / "camera.png")
    tab.set_input_files('[data-is="pad-left"] [data-is="file"]', tmp_path / "camera.png")
    draw(tab, "right", THREE)
    (card,) = shown(tab)
    assert "The left picture is unlike the images that auxws was trained on" in card["doubt"]
    assert "The right" not in card["doubt"]
    images = rng.random((30, 37, 20, 3)).astype(np.float32) * rng.uniform(0.5, 1, (30, 1, 1, 1))
    other = make_reference(thumbnails(images[:20]))
    limits = np.median(_distances(other, images), axis=0)
    other = replace(other, limits=limits)
    sent = _training_images(SimpleNamespace(reference=other))
    told = tab.evaluate(
        """([known, images]) => images.map(
          strangeTo(known, { height: 37, width: 20, channels: 3 }))""",
        [sent, [image.ravel().tolist() for image in images]],
    )
    expected = other.distance(other.place(thumbnails(images))) > 1
    assert 5 < expected.sum() < 28
    assert told == expected.tolist()


def _distances(known, images):
    """Return both squared distances of images, `(n, 2)`."""
    placed, near = known.place(thumbnails(images)), len(known.spread)
    along = np.mean(placed.along[:, :near] ** 2 / known.spread, axis=1)
    beyond = placed.beyond + np.sum(placed.along[:, near:] ** 2, axis=1)
    return np.stack([along, beyond / known.rest], axis=1)


def test_another_sites_script_gets_nothing(tab, server):
    tab.goto("about:blank")
    for mode, kind in (("cors", "application/json"), ("no-cors", "text/plain")):
        told = tab.evaluate(
            """async ([url, mode, kind]) => {
              const options = {method: "POST", mode, headers: {"Content-Type": kind}, body: "{}"};
              try { return await (await fetch(url, options)).text(); } catch { return null; }
            }""",
            [f"{server.url}compare", mode, kind],
        )
        assert not told


@pytest.mark.slow
def test_digits_pasted_as_strokes_keep_the_accuracy_of_predict(tab, mnist, tmp_path):
    """1,000 digits, larger and elsewhere, back to MNIST's place and size, by a trained network."""
    import kpairs
    from kpairs.exports.writing.export import export

    run = kpairs.train(kpairs.RECIPES["posterior_s"], tmp_path / "run")
    onnx, page = export(run, formats=("onnx", "html"))
    assert page.parity.pairs == 1000
    model = PairModel.load(onnx.path)
    numbers = np.random.default_rng(3).choice(len(mnist["test"].images), 1000, replace=False)
    images, labels = mnist["test"].images[numbers], mnist["test"].labels[numbers]
    tab.goto(page.path.as_uri())
    found = tab.evaluate(
        """(images) => images.map((levels, i) => {
          const large = blank(SCREEN, SCREEN), side = 150 + (37 * i) % 130;
          large.getContext("2d").drawImage(painted(levels, blank(28, 28)),
            (SCREEN - side) * ((i % 7) / 6), (SCREEN - side) * ((i % 5) / 4), side, side);
          const small = digitOf(large);
          const [{pixels}] = config.models;
          return Array.from(prepare(small.getContext("2d").getImageData(0, 0, 28, 28), pixels));
        })""",
        [image.ravel().tolist() for image in images],
    )
    pasted = np.float32(found).reshape(-1, 14, 14, 1)
    accuracy = {}
    for name, pixels in (("predicted", prepare(images).pixels), ("pasted", pasted)):
        digits = model.compare(pixels, pixels)["left_digit"].argmax(axis=1)
        accuracy[name] = float(np.mean(digits == labels))
    assert accuracy["pasted"] > accuracy["predicted"] - 0.01, accuracy
