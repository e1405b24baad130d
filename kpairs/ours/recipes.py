"""The recipes of our own networks.

docs/posterior.md says what cross-validation on training pairs chose, and what it did not;
docs/own-data.md what `ranker` and `auxranker` reach.
"""

from kpairs.recipes import Recipe, register, weights

RECIPES: dict[str, Recipe] = {}
WIDTHS = {
    **dict.fromkeys(("posterior", "ranker", "auxranker"), (16, 16, 64, 64, 112)),
    "posterior_s": (12, 12, 28, 28, 64),
}
DROPOUT = {**dict.fromkeys(("posterior", "ranker", "auxranker"), 0.08), "posterior_s": 0.03}

_POSTERIOR = Recipe.of(
    arch="posterior",
    origin="kpairs, docs/posterior.md",
    loss_weights=weights(0.5, 1.0),
    pairing="renewed",
    distortion="elastic",
    epochs=80,
    batch_size=50,
    optimizer="adamw",
    learning_rate=6e-3,
    schedule="one_cycle",
    initialization="keras",
    averaging=0.9,
    validate_every=10,
)
_RANKER = _POSTERIOR.replace(
    arch="ranker",
    origin="kpairs, docs/own-data.md",
    loss_weights=weights(1.0),
    ties="half",
    pairing="drawn",
    distortion="none",  # what images are ranked by may be their shape
    averaging=0.0,  # where many pairs need few epochs, an average holds too much of the first
)
for _base, _name in (
    (_POSTERIOR, "posterior"),
    (_POSTERIOR, "posterior_s"),
    (_RANKER, "ranker"),
    (_RANKER.replace(loss_weights=weights(1.0, 1.0)), "auxranker"),
):
    _options = {"widths": WIDTHS[_name], "dropout": DROPOUT[_name]}
    register(RECIPES, _base, _name, arch_options=_options)
# The head is solved for; all of this is for fine-tuning.
RECIPES["linear"] = Recipe.of(
    arch="linear",
    origin="kpairs, docs/own-data.md",
    arch_options={"size": 128, "mirrored": True},
    loss_weights=weights(1.0),
    ties="half",
    epochs=1,
    batch_size=16,
    optimizer="adamw",
    learning_rate=1e-3,
    schedule="one_cycle",
    initialization="keras",
    validate_every=1000,  # images of a large network pass for it; the last epoch always has one
)
register(RECIPES, RECIPES["linear"], "linear_grades", loss_weights=weights(1.0, 1.0))
# The same network, longer trained and seen at five places: slower, and better.
RECIPES["posterior_long"] = RECIPES["posterior"].replace(
    epochs=320, validate_every=40, test_shifts=5
)
