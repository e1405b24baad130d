"""The recipes of report 004, section III.

Pairs never shuffled (by the code); Figure 1 shows the mean over 5 rounds of each round's best
accuracy on the test pairs, which is optimistic.
Where the report leaves a number out, it is that of its authors' code.
"""

from kpairs.recipes import OPTIMIZERS, Recipe, register, weights

RECIPES: dict[str, Recipe] = {}

_ALTUNINA = Recipe(
    arch="auxnet2",
    source="altunina (report 004), section III",
    loss_weights=weights(1.0, 1.0),
    normalization="standardize",
    epochs=25,
    batch_size=100,
    shuffle=False,
    optimizer="torch_adam",
    learning_rate=5e-3,
    optimizer_options=OPTIMIZERS["torch_adam"],
    dropout=0.5,
    initialization="torch",
    reported_rounds=5,
    reported_epoch="best",
)
register(RECIPES, _ALTUNINA, "basicnet1", loss_weights=weights(1.0), widths=(32, 128, 64, 16))
register(RECIPES, _ALTUNINA, "auxnet1", widths=(32, 64, 128, 128))
register(RECIPES, _ALTUNINA, "auxnet2", widths=(32, 32, 64, 256))
register(RECIPES, _ALTUNINA, "auxnet3", widths=(16, 64, 128, 128))
