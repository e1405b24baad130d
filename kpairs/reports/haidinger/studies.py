"""The studies of report 001: its tables and figures as settings."""

from kpairs.recipes import Ingredient, Setting, Study
from kpairs.reports.haidinger.recipes import RECIPES

STUDIES = (
    Study(
        "haidinger-figure-2",
        "haidinger",
        "Figure 2: a plain network, weight sharing, and weight sharing with auxiliary losses",
        [Setting(RECIPES[arch], "augmented x18") for arch in ("simple", "ws", "auxws")],
        20,
        tables=["Figure 2"],
        metrics=["train_accuracy_pct", "test_accuracy_pct"],
        curves=[f"{arch} augmented x18" for arch in ("simple", "ws", "auxws")],
    ),
    Study(
        "haidinger-plain",
        "haidinger",
        "The same three networks without augmentation, which the report did not show",
        [
            Setting(RECIPES[arch].replace(augmentation="none"), "not augmented")
            for arch in ("simple", "ws", "auxws")
        ],
        20,
    ),
)

INGREDIENTS = (
    Ingredient(
        "weight sharing",
        [("simple augmented x18", "ws augmented x18")],
        "Weight sharing helps: the network looks at each image alone.",
        "lowers",
    ),
    Ingredient(
        "auxiliary losses",
        [("ws augmented x18", "auxws augmented x18")],
        "Auxiliary losses help most: the network learns the digits first.",
        "lowers",
    ),
    Ingredient(
        "both together",
        [("simple augmented x18", "auxws augmented x18")],
        "Both together give the best network.",
        "lowers",
    ),
    Ingredient("weight sharing, no augmentation", [("simple not augmented", "ws not augmented")]),
    Ingredient("auxiliary losses, no augmentation", [("ws not augmented", "auxws not augmented")]),
    Ingredient(
        "augmentation",
        [(f"{arch} not augmented", f"{arch} augmented x18") for arch in ("simple", "ws", "auxws")],
    ),
)
LABELS = {"augmented x18": ""}  # names of settings on pages
