"""The command line as tests run it: in this process, every output and exit code as a user's."""

from click.testing import CliRunner

from kpairs.cli import main

# What `kpairs train` takes to be done in a second.
TINY = ("--pairs", "40", "--test-pairs", "30", "--epochs", "1", "--no-augment")


def kpairs(*arguments, expect=0):
    """Run a command in this process; its output, or for a refusal its one line."""
    result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="kpairs")
    assert result.exit_code == expect, result.output + result.stderr
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    if expect:
        assert "Traceback" not in result.stderr
        return result.stderr
    return result.stdout
