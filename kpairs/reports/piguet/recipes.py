"""The recipes of report 000, section 2.3.

Mean test error after the last of 20 epochs, 20 rounds. The factor of the digit losses is 0, 0.1 or
1 in Table 2; its best cell, C4L2 with shared weights, has 1.
Where the report leaves a number out, it is that of its authors' code.
"""

from kpairs.recipes import Recipe, register, weights

RECIPES: dict[str, Recipe] = {}

_PIGUET = Recipe.of(
    arch="c4l2_ws",
    origin="piguet (report 000), section 2.3",
    loss_weights=weights(1.0, 1.0),
    normalization="standardize",
    epochs=20,
    batch_size=10,
    optimizer="torch_adam",
    learning_rate=1e-3,
    probabilities_as_logits=True,
    initialization="torch",
    reported_rounds=20,
)
register(RECIPES, _PIGUET, "c1l2 c1l2_ws c2l2 c2l2_ws c2l3 c2l3_ws c3l2 c3l2_ws c4l2 c4l2_ws")
