"""The program as a shell sees it: quick, documented, and unmoved by odd terminals."""

import subprocess
import sys
from pathlib import Path

import click

from kpairs.cli import main


def test_help_and_version_load_nothing_heavy():
    script = (
        "import sys\n"
        "from kpairs.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'keras', 'torch', 'numpy', 'rich', 'matplotlib', 'onnx', 'onnxruntime', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    for arguments in (["--help"], ["--version"], ["train", "--help"]):
        command = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


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
        f"COLUMNS=abc PYTHONIOENCODING=ascii {command} study --list",
    ):
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), line
        assert done.stdout


def test_the_reference_is_up_to_date():
    from kpairs.cli.reference import reference

    written = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert written == reference(), "run 'make docs'"
