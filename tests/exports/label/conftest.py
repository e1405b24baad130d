"""A cache folder of their own: tests leave nothing in the user's."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPAIRS_DATA", str(tmp_path_factory.mktemp("cache")))
        yield
