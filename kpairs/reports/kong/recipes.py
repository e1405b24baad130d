"""The recipes of report 003, sections IV to VII.

Batches of 5 by the code; accuracy after the last epoch, 10 rounds (Table III) or 4-fold cross-
validation (Tables I and II). Table II scans the weight of the comparison loss and finds 0.5 best.
Where the report leaves a number out, it is that of its authors' code.
"""

from kpairs.recipes import Recipe, register, weights

RECIPES: dict[str, Recipe] = {}
ACTIVATION = "relu"  # of the text; the authors' code has sigmoid units in fc_1
DROPOUT = 0.4

_KONG = Recipe.of(
    arch="a_w_net",
    origin="kong (report 003), sections IV to VII",
    loss_weights=weights(0.5, 1.0),
    normalization="standardize",
    epochs=25,
    batch_size=5,
    optimizer="torch_adam",
    learning_rate=1e-3,
    initialization="torch",
    reported_rounds=10,
)
_TABLE_1 = _KONG.replace(arch="fc_1", loss_weights=weights(1.0), reported_rounds=4)
register(RECIPES, _TABLE_1, "fc_1 fc_2 fc_3", arch_options={"activation": ACTIVATION})
register(RECIPES, _TABLE_1, "conv_1 conv_2 conv_3")
register(RECIPES, _KONG, "cnn_base no_w_net w_net", loss_weights=weights(1.0))
register(RECIPES, _KONG, "a_net a_w_net")
register(RECIPES, _KONG, "final_model", arch_options={"dropout": DROPOUT})
