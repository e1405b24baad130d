"""A trained run that the tests of several commands share."""

import shutil

import pytest
from command_line import TINY, kpairs


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    kpairs("train", "--arch", "auxws", "--loss-weights", "0.5,1", *TINY, "--out", folder)
    return folder


@pytest.fixture
def run(trained, workplace):
    """A trained run of auxws."""
    return shutil.copytree(trained, workplace / "run")
