"""Words for those who type something for the first time, or mistype it."""

import csv
import re
import statistics
from pathlib import Path

import click
import pytest
from command_line import kpairs

from kpairs.cli import main
from kpairs.cli.study import _SECONDS

ROWS = Path(__file__).parents[2] / "docs" / "rows"


def options_of(text):
    return re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE)


def test_kpairs_alone_says_what_to_type_first():
    text = kpairs()
    proposed = re.findall(r"^  kpairs (\S+)", text, re.MULTILINE)
    assert len(proposed) == 5
    assert set(proposed) <= set(main.list_commands(None))


def test_every_command_stands_in_one_section_of_the_help():
    listed = re.findall(r"^  ([a-z][\w-]*)  ", kpairs("--help"), re.MULTILINE)
    assert sorted(listed) == sorted(main.list_commands(None))


def test_train_shows_ten_options_and_all_when_asked():
    assert len(options_of(kpairs("train", "--help"))) == 10 + 1  # and --help-all
    every = options_of(kpairs("train", "--help-all"))
    command = main.get_command(None, "train")
    known = {option.opts[-1] for option in command.params if isinstance(option, click.Option)}
    assert set(every) == {*known, "--help", "--help-all"}
    assert len(every) == len(set(every))


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["trian"], "did you mean train?"),
        (["frobnicate"], "'kpairs --help' lists them"),
        (["train", "--lr", "1"], "did you mean --learning-rate?"),
        (["train", "--bs", "1"], "did you mean --batch-size?"),
        (["train", "--learn", "1"], "did you mean --learning-rate?"),
        (["train", "--epoch", "1"], "did you mean --epochs?"),
        (["train", "--frobnicate"], "--help lists them"),
        (["bench", "infer", "--quik"], "did you mean --quick?"),
    ],
)
def test_mistyped_words_get_the_nearest(arguments, hint):
    assert hint in kpairs(*arguments, expect=2)


@pytest.mark.parametrize(
    "words",
    [
        *("rank", "label", "data", "evaluate", "export", "predict", "score", "train --resume"),
        *("train ws --data", "compare", "next-pairs", "predict missing.png"),
    ],
)
def test_a_missing_place_is_named(words, workplace):
    text = kpairs(*words.split(), "nosuch", expect=4)
    named = "missing.png" if "missing.png" in words else "nosuch"
    assert text == f"Error: {named}: no such file or folder\n"


def test_the_time_of_a_study_is_that_of_the_rows():
    for name, seconds in _SECONDS.items():
        with open(ROWS / f"{name}.csv", newline="") as file:
            epochs = [float(row["seconds"]) / float(row["epochs"]) for row in csv.DictReader(file)]
        assert seconds == pytest.approx(statistics.median(epochs), abs=0.006)
