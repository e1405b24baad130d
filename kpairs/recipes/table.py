"""The reports' recipes: a base for each report, replaced where an architecture differs.

Where a report leaves a number out, it is that of its authors' code.
"""

from dataclasses import replace
from pathlib import Path

from kpairs.errors import InputError, UsageError, unknown
from kpairs.recipes.loss_weights import format_loss_weights
from kpairs.recipes.recipe import OPTIMIZERS, Recipe

RECIPES: dict[str, Recipe] = {}


def _weights(comparison, digit=None):
    sides = {} if digit is None else {"left_digit": digit, "right_digit": digit}
    return {"comparison": comparison, **sides}


def _register(base, names, **changes):
    for name in names.split():
        RECIPES[name] = replace(base, arch=name, **changes)


# Report 000, section 2.3: mean test error after the last of 20 epochs, 20 rounds. The factor of the
# digit losses is 0, 0.1 or 1 in Table 2; its best cell, C4L2 with shared weights, has 1.
_PIGUET = Recipe(
    arch="c4l2_ws",
    source="piguet (report 000), section 2.3",
    loss_weights=_weights(1.0, 1.0),
    normalization="standardize",
    epochs=20,
    batch_size=10,
    optimizer="torch_adam",
    learning_rate=1e-3,
    optimizer_options=OPTIMIZERS["torch_adam"],
    probabilities_as_logits=True,
    initialization="torch",
    reported_rounds=20,
)
_register(_PIGUET, "c1l2 c1l2_ws c2l2 c2l2_ws c2l3 c2l3_ws c3l2 c3l2_ws c4l2 c4l2_ws")

# Report 001, section 3: 18,000 augmented pairs, images scaled to [0, 1]; test accuracy after the
# last epoch 84.1 % (simple), 87.2 % (ws) and 97.1 % (auxws), 20 rounds.
_HAIDINGER = Recipe(
    arch="auxws",
    source="haidinger (report 001), section 3",
    loss_weights=_weights(0.5, 1.0),
    augmentation="shifts_and_swap",
    epochs=40,
    batch_size=100,
    optimizer="torch_adam",
    learning_rate=3e-3,
    optimizer_options=OPTIMIZERS["torch_adam"],
    l2=2.5e-5,
    dropout=0.15,
    initialization="torch",
    reported_rounds=20,
)
_register(_HAIDINGER, "simple ws", loss_weights=_weights(1.0))
_register(_HAIDINGER, "auxws")

# Report 002, section 1.2: Adadelta with a learning rate per row of the table, pixels of 0..255 and
# pairs never shuffled (both by the code); test error after the last epoch, 10 rounds. The code
# weighs the comparison by 2. Method 1 has no row of its own and takes its network's recipe.
_CHASSAGNE = Recipe(
    arch="wsal_bd",
    source="chassagne (report 002), section 1.2",
    loss_weights=_weights(2.0, 1.0),
    normalization="raw",
    epochs=25,
    batch_size=100,
    shuffle=False,
    optimizer="adadelta",
    learning_rate=1.0,
    optimizer_options=OPTIMIZERS["adadelta"],
    probabilities_as_logits=True,
    initialization="torch",
    reported_rounds=10,
)
_register(_CHASSAGNE, "basic resnet", loss_weights=_weights(1.0), probabilities_as_logits=False)
_register(_CHASSAGNE, "wsal wsal_m1", learning_rate=0.1)
_register(_CHASSAGNE, "wsal_d wsal_d_m1", learning_rate=0.2, dropout=0.1)
_register(_CHASSAGNE, "wsal_b wsal_b_m1")
_register(_CHASSAGNE, "wsal_bd wsal_bd_m1", dropout=0.1)

# Report 003, sections IV to VII: batches of 5 by the code; accuracy after the last epoch, 10
# rounds (Table III) or 4-fold cross-validation (Tables I and II). Table II scans the weight of the
# comparison loss and finds 0.5 best.
_KONG = Recipe(
    arch="a_w_net",
    source="kong (report 003), sections IV to VII",
    loss_weights=_weights(0.5, 1.0),
    normalization="standardize",
    epochs=25,
    batch_size=5,
    optimizer="torch_adam",
    learning_rate=1e-3,
    optimizer_options=OPTIMIZERS["torch_adam"],
    initialization="torch",
    reported_rounds=10,
)
_TABLE_1 = replace(_KONG, arch="fc_1", loss_weights=_weights(1.0), reported_rounds=4)
_register(_TABLE_1, "fc_1 fc_2 fc_3", activation="relu")
_register(_TABLE_1, "conv_1 conv_2 conv_3")
_register(_KONG, "cnn_base no_w_net w_net", loss_weights=_weights(1.0))
_register(_KONG, "a_net a_w_net")
_register(_KONG, "final_model", dropout=0.4)

# Report 004, section III: pairs never shuffled (by the code); Figure 1 shows the mean over 5 rounds
# of each round's best accuracy on the test pairs, which is optimistic.
_ALTUNINA = Recipe(
    arch="auxnet2",
    source="altunina (report 004), section III",
    loss_weights=_weights(1.0, 1.0),
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
_register(_ALTUNINA, "basicnet1", loss_weights=_weights(1.0), widths=(32, 128, 64, 16))
_register(_ALTUNINA, "auxnet1", widths=(32, 64, 128, 128))
_register(_ALTUNINA, "auxnet2", widths=(32, 32, 64, 256))
_register(_ALTUNINA, "auxnet3", widths=(16, 64, 128, 128))

# Ours. docs/posterior.md says what cross-validation on training pairs chose, and what it did not.
_POSTERIOR = Recipe(
    arch="posterior",
    source="kpairs, docs/posterior.md",
    loss_weights=_weights(0.5, 1.0),
    pairing="renewed",
    distortion="elastic",
    epochs=80,
    batch_size=50,
    optimizer="adamw",
    learning_rate=6e-3,
    schedule="one_cycle",
    optimizer_options=OPTIMIZERS["adamw"],
    widths=(16, 16, 64, 64, 112),
    dropout=0.08,
    initialization="keras",
    averaging=0.9,
    validate_every=10,
)
_register(_POSTERIOR, "posterior")
_register(_POSTERIOR, "posterior_s", widths=(12, 12, 28, 28, 64), dropout=0.03)


def recipe_of(arch):
    """The recipe that an architecture's report trained it with.

    Raises:
        UsageError: an unknown architecture.
    """
    if arch not in RECIPES:
        raise unknown("architecture", arch, RECIPES)
    return RECIPES[arch]


def load_recipe(name):
    """The recipe of an architecture by its name, or the one in a JSON file or run folder.

    Raises:
        UsageError: neither a known architecture nor a file.
        InputError: a file that is not a recipe.
    """
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name)
    try:
        path = path / "recipe.json" if path.is_dir() else path
        if not path.is_file():
            raise unknown(
                "recipe (an architecture's name, a run or its recipe.json)", name, RECIPES
            )
        return Recipe.from_json(path.read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: cannot read the recipe: {error}") from error


def for_arch(recipe, arch):
    """A recipe for another architecture: the same training of that one's outputs and layers.

    Loss weights of outputs that the architecture lacks are dropped, and so are arguments that it
    does not take. Widths are always its own, and so is what only it takes.

    Raises:
        UsageError: an unknown architecture, or one with outputs that the recipe's loss weights do
            not name.
    """
    own = recipe_of(arch)
    if arch == recipe.arch:
        return recipe
    missing = [name for name in own.loss_weights if name not in recipe.loss_weights]
    if missing:
        raise UsageError(
            f"the recipe gives no loss weight for {', '.join(missing)} of {arch}: "
            f"expected loss weights such as {format_loss_weights(own.loss_weights)}"
        )
    return replace(
        recipe,
        arch=arch,
        source=f"{recipe.source}; for {arch}",
        loss_weights={name: recipe.loss_weights[name] for name in own.loss_weights},
        widths=own.widths,
        dropout=own.dropout if None in (own.dropout, recipe.dropout) else recipe.dropout,
        activation=own.activation and (recipe.activation or own.activation),
    )
