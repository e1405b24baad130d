"""The studies of our own architecture: how it was chosen, what each part brings, how it scales."""

from dataclasses import replace

from kpairs.recipes import RECIPES
from kpairs.studies.study import Setting, Study

REPORT = "kpairs"
_POSTERIOR, _SMALL = RECIPES["posterior"], RECIPES["posterior_s"]
# Chosen by cross-validation of other pairs than those of the final rounds (seed 0).
_SELECTION_SEED = 1


def _study(name, title, settings, rounds, note=""):
    return Study(name, REPORT, (), title, tuple(settings), rounds, (), (), note)


def _tried(setting, **changes):
    base = replace(_POSTERIOR, seed=_SELECTION_SEED, batch_size=100, epochs=80, averaging=0.0)
    return Setting(replace(base, **changes), setting, folds=4)


SELECTION = _study(
    "posterior-selection",
    "Selection: 4-fold cross-validation on 1,000 training pairs",
    [
        _tried("batch 100"),
        _tried("batch 50", batch_size=50),
        _tried("averaged weights", averaging=0.9),
        _tried("learning rate 0.012", learning_rate=0.012),
        _tried("affine distortion", distortion="affine"),
        _tried("widths 24-24-48-48-96", widths=(24, 24, 48, 48, 96)),
    ],
    4,
    "4 folds of one draw of 1,000 pairs, seed 1; the final rounds are of seed 0",
)
OURS = [SELECTION]
