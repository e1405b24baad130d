"""Models with first weights and their exports, each made once for all tests of the exports."""

import numpy as np
import pytest

from kpairs.data.splits import draw_pairs
from kpairs.exports.web.browser import QUIET, find_browser
from kpairs.exports.writing.export import export_model
from kpairs.exports.writing.formats import Onnx, TorchExport, TorchScript
from kpairs.exports.writing.trained import Trained
from kpairs.models.initialization import initialize
from kpairs.networks import ARCHS, build


def fresh(name, seed=7):
    """A model with weights as at first, as if it was trained."""
    model = build(name)
    initialize(model, "torch", np.random.default_rng(seed))
    return Trained.from_architecture(model, ARCHS[name], tuple("0123456789"))


@pytest.fixture(scope="session")
def exported(tmp_path_factory, mnist):
    """`exported(name)` -> (trained, exports, pairs): in all formats of float32."""
    made = {}
    folder = tmp_path_factory.mktemp("exports")

    def make(name):
        if name not in made:
            trained = fresh(name)
            # Report 001's at every batch size that an export is checked at; of the others few pairs
            # tell as much, and the torch formats take a call per batch.
            count = 130 if trained.about["report"] == "haidinger" else 20
            pairs = draw_pairs(mnist["test"], count, np.random.default_rng(7))
            formats = (Onnx(), TorchScript(), TorchExport())
            made[name] = trained, export_model(trained, pairs, folder / name, formats), pairs
        return made[name]

    return make


@pytest.fixture(scope="session")
def another(exported):
    """The network of `exported("auxws")` with other weights."""
    return fresh("auxws", seed=8)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs make test-browser")
    path = find_browser()
    if path is None:
        pytest.skip("needs Chromium, Chrome or Edge, such as Debian's package chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *QUIET])
        yield browser
        browser.close()
