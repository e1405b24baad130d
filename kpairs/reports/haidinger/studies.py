"""The studies of report 001: its tables and figures as settings."""

from kpairs.recipes import Ingredient, Setting, Study
from kpairs.reports.haidinger.recipes import RECIPES

STUDIES = (
    Study(
        "haidinger-figure-2",
        "haidinger",
        ["Figure 2"],
        "Figure 2: a plain network, weight sharing, and weight sharing with auxiliary losses",
        [Setting(RECIPES[arch], "augmented x18") for arch in ("simple", "ws", "auxws")],
        20,
        ["train_accuracy_pct", "test_accuracy_pct"],
        [f"{arch} augmented x18" for arch in ("simple", "ws", "auxws")],
    ),
    Study(
        "haidinger-plain",
        "haidinger",
        [],
        "The same three networks without augmentation, which the report did not show",
        [
            Setting(RECIPES[arch].replace(augmentation="none"), "not augmented")
            for arch in ("simple", "ws", "auxws")
        ],
        20,
        [],
    ),
)

_BOTH_WAYS = ("augmented x18", "not augmented")
INGREDIENTS = (
    Ingredient(
        "weight sharing",
        [(f"simple {setting}", f"ws {setting}") for setting in _BOTH_WAYS],
        "It helps: the network is made to look at each image alone, and sees twice as many of them "
        "(84.1 to 87.2 % accuracy).",
        "lowers",
    ),
    Ingredient(
        "auxiliary losses",
        [(f"ws {setting}", f"auxws {setting}") for setting in _BOTH_WAYS],
        "They help most: the network learns the digits first, and comparing is simple then (87.2 "
        "to 97.1 %).",
        "lowers",
    ),
    Ingredient(
        "both together",
        [(f"simple {setting}", f"auxws {setting}") for setting in _BOTH_WAYS],
        "Together they give the best network (84.1 to 97.1 %).",
        "lowers",
    ),
    Ingredient(
        "augmentation",
        [(f"{arch} not augmented", f"{arch} augmented x18") for arch in ("simple", "ws", "auxws")],
    ),
)
