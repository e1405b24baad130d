"""The program as a shell sees it: quick, documented, and unmoved by odd terminals."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from command_line import TINY, kpairs

from kpairs.cli import main, say
from kpairs.cli.options import print_csv


def after(commands, libraries):
    """Exit codes of commands in one fresh process, and which of some libraries it then has."""
    script = (
        "import json, sys\n"
        "from kpairs.cli import main\n"
        "codes = []\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        main(arguments)\n"
        "    except SystemExit as end:\n"
        "        codes.append(end.code)\n"
        "print(json.dumps([codes, sorted(set(json.loads(sys.argv[2])) & set(sys.modules))]))\n"
    )
    command = [sys.executable, "-c", script, json.dumps(commands), json.dumps(libraries)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def places(group, above=()):
    yield above
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if isinstance(command, click.Group):
            yield from places(command, (*above, name))
        else:
            yield (*above, name)


def test_help_and_version_load_nothing_heavy():
    asked = [["--version"], *([*place, "--help"] for place in places(main))]
    assert len(asked) > 12
    heavy = [
        "keras",
        "torch",
        "numpy",
        "rich",
        "matplotlib",
        "onnx",
        "onnxruntime",
        "PIL",
        "pandas",
    ]
    assert after(asked, heavy) == [[0] * len(asked), []]


MISTAKES = [
    ["train"],
    ["train", "--arch", "auxsw"],
    ["train", "--arch", "auxws", "--epochs", "0"],
    ["train", "--arch", "auxws", "--arch-option", "depth=3"],
    ["train", "--arch", "auxws", "--loss-weights", "1"],
    ["train", "--arch", "auxws", "--data", "minst"],
    ["search", "--arch", "auxws", "--try", "dropout=high"],
    ["search", "--arch", "auxws", "--try", "rate=1"],
    ["study", "nope"],
    ["archs", "auxsw"],
]


def test_mistakes_are_told_before_keras_is_imported():
    nowhere = [["export", "nowhere"], ["evaluate", "nowhere"], ["train", "--resume", "nowhere"]]
    expected = [4 if "minst" in words else 2 for words in MISTAKES] + [4] * len(nowhere)
    assert after([*MISTAKES, *nowhere], ["keras", "torch"]) == [expected, []]


def commands(group):
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        yield name, command
        if isinstance(command, click.Group):
            yield from commands(command)


def test_every_command_and_option_has_help():
    for name, command in commands(main):
        assert command.help, name
        for option in command.params:
            if option.param_type_name == "option":
                assert option.help, f"{name} {option.name}"


def test_closed_pipes_odd_columns_and_ascii(workplace):
    """None of these is an error of the user's, and none gives a traceback."""
    command = f"{sys.executable} -m kpairs.cli"
    for line in (
        f"COLUMNS= {command} study --list | head -1",
        f"COLUMNS=0 {command} study --list | grep haidinger-figure-2",
        f"COLUMNS=² {command} study --list",
        f"COLUMNS=abc PYTHONIOENCODING=ascii {command} study --list",
    ):
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), line
        assert done.stdout


def test_paths_in_proposed_commands_are_arguments():
    from kpairs.cli.options import as_argument

    assert as_argument(Path("runs/a")) == "runs/a"
    assert as_argument("-dash") == "./-dash"
    assert as_argument("two words") == "'two words'"


def test_names_of_files_cannot_move_a_terminals_cursor(capsys, monkeypatch):
    rows = [{"file": "\x1b[2J.png", "score": 0.5}]
    print_csv(rows, list(rows[0]))
    assert capsys.readouterr().out == "file,score\n\x1b[2J.png,0.5\n"  # a program gets the name
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_csv(rows, list(rows[0]))
    assert capsys.readouterr().out == "file,score\n\\x1b[2J.png,0.5\n"


def test_a_source_is_named_as_train_names_it(workplace, idx_folder):
    shown = kpairs("data", "--data", idx_folder)
    assert shown == kpairs("data", idx_folder)
    assert "received both" in kpairs("data", "mnist", "--data", idx_folder, expect=2)


@pytest.mark.parametrize("words", ["--help", "study --list"])
def test_a_full_screen_is_one_line(words):
    line = f"{sys.executable} -m kpairs.cli {words} > /dev/full"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        *(1, "Error: [Errno 28] No space left on device: standard output, or a temporary file\n"),
    )


@pytest.mark.slow
def test_a_full_screen_does_not_hide_that_a_run_is_saved(workplace, idx_folder):
    command = f"{sys.executable} -m kpairs.cli train --arch simple {' '.join(TINY)}"
    line = f"{command} --data {idx_folder} --out run --json > /dev/full"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: the results cannot be printed (No space left on device); all is saved in run"
    )


@pytest.mark.parametrize(("columns", "lines"), [(18, ["3 images", "  1 to test"]), (80, None)])
def test_clauses_break_where_a_terminal_is_narrow(columns, lines, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    say("3 images; 1 to test")
    assert capsys.readouterr().out.splitlines() == ["3 images; 1 to test"]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    say("3 images; 1 to test")
    assert capsys.readouterr().out.splitlines() == (lines or ["3 images; 1 to test"])
