"""The list of images that a run keeps: what is added later changes neither of its splits."""

import os
import shutil

import numpy as np
import pytest
from image_folders import table, write

from kpairs.data.kept import holds_images, keep, kept_facts, open_kept
from kpairs.data.settings import PixelSettings
from kpairs.data.source import open_source
from kpairs.errors import InputError

LOOK = PixelSettings(8, 8, 1, ink="mixed", rounded=True)


def sources(folder):
    """Each kind of source of image files, with grades whose order nobody could guess."""
    files = [f"p/{c}/{i}.png" for c in ("b, c", "a") for i in range(15)]
    quoted = [f'"{file}"' for file in files]
    grade = ['"b, c"' if "," in file else "a" for file in files]
    group = [f"g{i // 3}" for i in range(30)]
    yield folder / "p", ("b, c", "a")
    rows = (f"{f},{g},{x}" for f, g, x in zip(quoted, grade, group, strict=True))
    yield table(folder / "grades.csv", "image,grade,group", *rows), ("b, c", "a")
    rows = (f"{f},{i / 7}" for i, f in enumerate(quoted))
    yield table(folder / "scores.csv", "image,score", *rows), None
    pairs = list(zip(quoted[:15], quoted[15:], strict=True))
    rows = [
        f'{a},{b},{i % 2},{3 - i % 2},{1 + i},judge {i},"b, c",a' for i, (a, b) in enumerate(pairs)
    ]
    header = "left,right,left_wins,right_wins,weight,judge,left_grade,right_grade"
    yield table(folder / "pairs.csv", header, *rows), ("b, c", "a")
    rows = [f"{b},{a}" for a, b in pairs]
    yield table(folder / "won.csv", "winner,loser", *rows), None


def of(source):
    """What a source gives to train and test on."""
    found = {}
    for part in ("train", "test"):
        split = source.split(part, LOOK)
        found[part] = [np.asarray(split.images)]
        if source.judged:
            listed = split.listed
            names = ("left", "right", "probability", "weight", "left_grade", "right_grade", "judge")
            found[part] += [np.asarray(getattr(listed, name)) for name in names]
        else:
            found[part].append(split.labels if source.classes else split.scores)
    return found


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("moved", [False, True])
def test_a_run_finds_the_same_splits_again(tmp_path, kind, moved, caplog):
    write(tmp_path / "was/p", ("b, c", "a"), 15)
    data, classes = list(sources(tmp_path / "was"))[kind]
    run = tmp_path / "run"
    run.mkdir()
    source = open_source(data, classes=classes, root=tmp_path)
    keep(source, run)
    before = of(source)
    assert kept_facts(run)["digest"] == source.digest()
    now = None
    if moved:
        (tmp_path / "was").rename(tmp_path / "is")
        now = str(data).replace("/was/", "/is/")
    else:  # images and rows are added, as by next-pairs
        for name in ("b, c", "a"):
            for i in range(15):
                shutil.copy(tmp_path / f"was/p/{name}/{i}.png", tmp_path / f"was/p/{name}/0{i}.png")
        if data.is_file():
            data.write_text(data.read_text() + data.read_text().splitlines()[3] + "\n")
    kept = open_kept(run, pytest.fail, now, classes=classes, root=tmp_path)
    again = of(kept)
    for part, arrays in before.items():
        for one, other in zip(arrays, again[part], strict=True):
            np.testing.assert_array_equal(one, other)
    changed = "has changed since the training; the run keeps to its own list" in caplog.text
    assert changed == (not moved)


def test_images_that_are_gone_or_changed(tmp_path, caplog):
    folder, run = write(tmp_path / "p", "12"), tmp_path / "run"
    run.mkdir()
    keep(open_source(folder, root=tmp_path), run)
    shutil.copy(folder / "1/3.png", folder / "2/5.png")
    open_kept(run, pytest.fail, root=tmp_path)
    assert "1 of the 20 images have changed since" in caplog.text
    elsewhere = tmp_path / "moved"
    shutil.copytree(folder, elsewhere)
    assert holds_images(run, elsewhere)
    for number in range(10):  # other images of these names
        shutil.copy(folder / "2/5.png", elsewhere / f"1/{number}.png")
    assert not holds_images(run, elsewhere)
    (folder / "1/7.png").unlink()
    with pytest.raises(InputError, match=r"1 of the 20 images of .*run are not there, such as 1/7"):
        open_kept(run, pytest.fail, root=tmp_path)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"say where they are now: --data FOLDER"):
        open_kept(run, pytest.fail, root=tmp_path)


@pytest.mark.parametrize("name", ["\udcff.png", " a .png", "x\ny.png", '";,.png', "=1+1.png"])
def test_names_of_any_kind_are_kept(tmp_path, name):
    folder, run = write(tmp_path / "p", "12"), tmp_path / "run"
    run.mkdir()
    (folder / "1/0.png").rename(os.path.join(folder, "1", name))
    source = open_source(folder, root=tmp_path)
    keep(source, run)
    kept = open_kept(run, pytest.fail, root=tmp_path)
    assert set(kept.rated.images.files) == set(source.rated.images.files)


def test_a_run_without_a_list_opens_the_recipes_source(tmp_path):
    assert open_kept(tmp_path, lambda data: data, "there") == "there"
    assert kept_facts(tmp_path) == {}


def test_other_digits_than_a_run_was_trained_on(tmp_path, idx_folder):
    run = tmp_path / "run"
    run.mkdir()
    keep(open_source(idx_folder), run)
    assert len(open_kept(run, lambda data: open_source(idx_folder)).split("test")) == 100
    labels = idx_folder / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\0")
    with pytest.raises(InputError, match=r"its images are not those that .* was trained on"):
        open_kept(run, lambda data: open_source(idx_folder))
