"""The recipes of report 004, section III.

Pairs never shuffled (by the code); Figure 1 shows the mean over 5 rounds of each round's best
accuracy on the test pairs, which is optimistic.
Where the report leaves a number out, it is that of its authors' code.
"""

from kpairs.recipes import Recipe, register, weights

RECIPES: dict[str, Recipe] = {}
# Each network's size with the best mean accuracy of Figure 1, of two alike the one with the smaller
# deviation: the channels of the convolutions, then the hidden units of the classifiers.
WIDTHS = {
    "basicnet1": (32, 128, 64, 16),
    "auxnet1": (32, 64, 128, 128),
    "auxnet2": (32, 32, 64, 256),
    "auxnet3": (16, 64, 128, 128),
}
DROPOUT = 0.5

_ALTUNINA = Recipe.of(
    arch="auxnet2",
    origin="altunina (report 004), section III",
    loss_weights=weights(1.0, 1.0),
    normalization="standardize",
    epochs=25,
    batch_size=100,
    shuffle=False,
    optimizer="torch_adam",
    learning_rate=5e-3,
    arch_options={"dropout": DROPOUT},
    initialization="torch",
    reported_rounds=5,
    reported_epoch="best",
)
register(
    RECIPES,
    _ALTUNINA,
    "basicnet1",
    loss_weights=weights(1.0),
    arch_options={"widths": WIDTHS["basicnet1"]},
)
for _name in ("auxnet1", "auxnet2", "auxnet3"):
    register(RECIPES, _ALTUNINA, _name, arch_options={"widths": WIDTHS[_name]})
