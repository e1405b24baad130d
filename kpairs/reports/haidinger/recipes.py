"""The recipes of report 001, section 3.

18,000 augmented pairs, images scaled to [0, 1]; test accuracy after the last epoch 84.1 % (simple),
87.2 % (ws) and 97.1 % (auxws), 20 rounds.
Where the report leaves a number out, it is that of its authors' code.
"""

from kpairs.recipes import Recipe, register, weights

RECIPES: dict[str, Recipe] = {}
DROPOUT = 0.15

_HAIDINGER = Recipe.of(
    arch="auxws",
    origin="haidinger (report 001), section 3",
    loss_weights=weights(0.5, 1.0),
    augmentation="shifts_and_swap",
    epochs=40,
    batch_size=100,
    optimizer="torch_adam",
    learning_rate=3e-3,
    l2=2.5e-5,
    arch_options={"dropout": DROPOUT},
    initialization="torch",
    reported_rounds=20,
)
register(RECIPES, _HAIDINGER, "simple ws", loss_weights=weights(1.0))
register(RECIPES, _HAIDINGER, "auxws")
