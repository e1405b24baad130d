"""The recipes of report 002, section 1.2.

Adadelta with a learning rate per row of the table, pixels of 0..255 and pairs never shuffled (both
by the code); test error after the last epoch, 10 rounds. The code weighs the comparison by 2.
Method 1 has no row of its own and takes its network's recipe.
Where the report leaves a number out, it is that of its authors' code.
"""

from typing import Any

from kpairs.recipes import Recipe, register, weights

RECIPES: dict[str, Recipe] = {}
DROPOUT = 0.1

_CHASSAGNE = Recipe.of(
    arch="wsal_bd",
    origin="chassagne (report 002), section 1.2",
    loss_weights=weights(2.0, 1.0),
    normalization="raw",
    epochs=25,
    batch_size=100,
    shuffle=False,
    optimizer="adadelta",
    learning_rate=1.0,
    probabilities_as_logits=True,
    initialization="torch",
    reported_rounds=10,
)
_DROPPED = {"dropout": DROPOUT}
_PLAIN: dict[str, Any] = {"loss_weights": weights(1.0), "probabilities_as_logits": False}
register(RECIPES, _CHASSAGNE, "basic resnet", **_PLAIN)
register(RECIPES, _CHASSAGNE, "wsal wsal_m1", learning_rate=0.1)
register(RECIPES, _CHASSAGNE, "wsal_d wsal_d_m1", learning_rate=0.2, arch_options=_DROPPED)
register(RECIPES, _CHASSAGNE, "wsal_b wsal_b_m1")
register(RECIPES, _CHASSAGNE, "wsal_bd wsal_bd_m1", arch_options=_DROPPED)
