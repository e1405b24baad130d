"""The short form of `make test-reliability`: the same damage, fewer cases.

Those of exported files are in exports/test_runtime.py, where there is one.
"""

import file_formats
import pytest
import reliability_script

SEED = 20261124


@pytest.mark.parametrize("name", [n for n, f in file_formats.FORMATS.items() if not f.exported])
def test_damaged_files_are_read_or_refused_in_one_line(name):
    assert reliability_script.damaged_files(name, 15, SEED) == []


def test_odd_options_are_refused_in_one_line():
    assert reliability_script.odd_options(40, SEED) == []
