"""The short form of `make test-reliability`: the same damage, fewer cases."""

import file_formats
import pytest
import reliability_script

SEED = 20261124
EXPORTED = [name for name in file_formats.FORMATS if name.startswith(("ONNX", "description"))]
OTHERS = [name for name in file_formats.FORMATS if name not in EXPORTED]


@pytest.mark.parametrize("name", OTHERS)
def test_damaged_files_are_read_or_refused_in_one_line(name):
    assert reliability_script.damaged_files(name, 15, SEED) == []


def test_damaged_exports_are_run_or_refused_in_one_line():
    """All of them in one process, which makes the good one."""
    assert [reliability_script.damaged_files(name, 15, SEED) for name in EXPORTED] == [[]] * 4


def test_odd_options_are_refused_in_one_line():
    assert reliability_script.odd_options(40, SEED) == []
