"""A run knows its own images, whatever becomes of the folder or table that they came from."""

import json

import numpy as np
import pytest
from image_folders import table
from PIL import Image
from resume_script import digest

from kpairs import Run, evaluate, open_source, resume, train
from kpairs.errors import InputError

SMALL = {"image_size": (14, 14), "channels": 1, "fit": "pad", "ink": "mixed"}


@pytest.fixture
def small(tiny, workplace, monkeypatch):
    """`ranker` on some images, for a second."""
    monkeypatch.setenv("KPAIRS_DATA", str(workplace / "cache"))

    def make(data, **changes):
        recipe = tiny(
            "ranker", data=str(data), **{"pairs": 60, "test_pairs": 6, **SMALL, **changes}
        )
        return recipe.with_options(widths=(4, 4, 4, 4, 8))

    return make


def measured(rows):
    return [row["test"] for row in rows]


def picture(path, rng):
    Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)).save(path)


def test_images_that_are_added_change_no_round(small, image_folder, rng, caplog):
    whole = train(small(image_folder, rounds=2), "whole", engine="keras")
    run = train(small(image_folder), "run", engine="keras")
    for grade in ("1", "2", "10"):
        for number in range(2):
            picture(image_folder / grade / f"new{number}.png", rng)
    caplog.clear()
    assert measured(evaluate(run)) == measured(run.metrics["rounds"])
    said = [
        m for m in caplog.messages if "has changed since the training; the run keeps to its" in m
    ]
    assert len(said) == 1
    assert digest(resume("run", rounds=2).path) == digest(whole.path)


def test_a_run_whose_images_moved(small, image_folder, caplog):
    """By their new place it goes on as if nothing had been; also where more images are there."""
    whole = train(small(image_folder, rounds=2), "whole", engine="keras")
    run = train(small(image_folder), "run", engine="keras")
    image_folder.rename("moved")
    with pytest.raises(InputError, match=r"of the 60 images of run are not there.*--data FOLDER"):
        evaluate(run)
    picture("moved/1/new.png", np.random.default_rng(1))
    assert measured(evaluate(run, data="moved")) == measured(run.metrics["rounds"])
    assert "moved holds the images of run; its own test split is evaluated" in caplog.messages
    assert digest(resume("run", rounds=2, data="moved").path) == digest(whole.path)


def test_images_that_are_other_ones_now(small, image_folder, rng, caplog):
    run = train(small(image_folder), "run", engine="keras")
    picture(image_folder / "1" / "3.png", rng)
    evaluate(run)
    assert "1 of the 60 images have changed since run was trained" in caplog.text
    (image_folder / "1" / "5.png").unlink()
    with pytest.raises(
        InputError, match=r"1 of the 60 images of run are not there, such as 1/5.png"
    ):
        resume("run", rounds=2)
    assert Run.open("run").recipe.fit.rounds == 1


def test_rows_that_are_appended(small, image_folder, workplace, caplog):
    """As next-pairs says: a pair of training images is no test of the network."""
    files = [f"images/{grade}/{i}.png" for grade in ("1", "2", "10") for i in range(20)]
    pairs = [f"{a},{b},right" for a, b in zip(files[:40], files[20:], strict=True)]
    pairs += [f"{b},{a},left" for a, b in zip(files[:40], reversed(files[20:]), strict=True)]
    judged = table(workplace / "pairs.csv", "left,right,label", *pairs)
    run = train(small(judged), "run", engine="keras")
    judged.write_text(judged.read_text() + f"{files[0]},{files[1]},left\n")
    for data in (None, "pairs.csv"):
        assert measured(evaluate(run, data=data)) == measured(run.metrics["rounds"])
    caplog.clear()
    others = table(workplace / "others.csv", "left,right,label", *pairs[:20])
    evaluate(run, data=others)
    assert "images are training images of run, which the network knows" in caplog.text


def test_nothing_but_ties_is_refused_before_training(small, workplace, rng):
    for number in range(20):
        picture(workplace / f"{number}.png", rng)
    scores = table(workplace / "scores.csv", "image,score", *(f"{i}.png,{i}" for i in range(20)))
    with pytest.raises(InputError, match=r"drew only ties .*; draw more pairs"):
        train(small(scores, margin=100.0), "run")
    assert not (workplace / "run").exists()
    train(small(scores, margin=1.0, validation=0.5), "run", engine="keras")
    text = (workplace / "run" / "metrics.json").read_text()
    json.loads(text, parse_constant=pytest.fail)


def test_a_run_through_a_linked_folder(small, image_folder, workplace):
    (workplace / "deep/er").mkdir(parents=True)
    image_folder.rename(workplace / "deep/er/images")
    (workplace / "short").symlink_to(workplace / "deep/er")
    run = train(small("short/images"), "run", engine="keras")
    assert measured(evaluate(run)) == measured(run.metrics["rounds"])


def test_a_recipe_says_how_its_table_was_read(small, image_folder, workplace):
    """A source that was opened before the training tells; repeated, judgements keep their side."""
    names = sorted(str(file.relative_to(image_folder)) for file in image_folder.rglob("*.png"))
    pairs = [f"{a},{b},left" for a, b in zip(names[::2], names[1::2], strict=True)]
    (workplace / "pairs.csv").write_text("\n".join(["left,right,label", *pairs]))
    how = {"columns": {"left": "right", "right": "left"}, "images": image_folder.name}
    source = open_source("pairs.csv", **how)
    run = train(small("pairs.csv", pairs=10, test_pairs=2), "run", data=source, engine="keras")
    again = train(Run.open("run").recipe, "again", engine="keras")
    assert again.source().examples() == run.source().examples()
    assert digest(again.path) == digest(run.path)


def test_images_beside_their_table_may_be_renamed(small, image_folder, workplace):
    """Their folder is then the place that --data names."""
    names = sorted(str(file.relative_to(image_folder)) for file in image_folder.rglob("*.png"))
    pairs = [f"{a},{b},left" for a, b in zip(names[::2], names[1::2], strict=True)]
    (workplace / "tables").mkdir()
    (workplace / "tables/pairs.csv").write_text("\n".join(["left,right,label", *pairs]))
    source = open_source("tables/pairs.csv", images=image_folder)
    run = train(small("pairs.csv", pairs=10, test_pairs=2), "run", data=source, engine="keras")
    image_folder.rename("renamed")
    assert measured(evaluate(run, data="renamed")) == measured(run.metrics["rounds"])
