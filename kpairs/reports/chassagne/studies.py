"""The studies of report 002: its tables and figures as settings."""

from kpairs.recipes import Ingredient, Setting, Study
from kpairs.reports.chassagne.recipes import RECIPES

STUDIES = (
    Study(
        "chassagne-table",
        "chassagne",
        ["Table"],
        "The table: dropout and batch normalisation on a shared network, and a ResNet",
        [
            Setting(RECIPES[arch], f"lr={RECIPES[arch].optimizer.learning_rate:g}")
            for arch in ("basic", "wsal", "wsal_d", "wsal_b", "wsal_bd", "resnet")
        ],
        10,
        ["test_error_pct"],
    ),
    Study(
        "chassagne-method-1",
        "chassagne",
        [],
        "The first auxiliary loss (section 1.1.2), whose numbers the report does not show",
        [
            Setting(RECIPES[arch], f"lr={RECIPES[arch].optimizer.learning_rate:g}")
            for arch in ("wsal_m1", "wsal_d_m1", "wsal_b_m1", "wsal_bd_m1")
        ],
        10,
        [],
    ),
)

INGREDIENTS = (
    Ingredient(
        "both together",
        [("basic lr=1", "wsal lr=0.1")],
        "Weight sharing and auxiliary losses improve the performance (22.41 to 19.23 % error).",
        "lowers",
    ),
    Ingredient(
        "batch normalisation",
        [
            (f"wsal{method} lr=0.1", f"wsal_b{method} lr=1")
            if not dropout
            else (f"wsal_d{method} lr=0.2", f"wsal_bd{method} lr=1")
            for method in ("", "_m1")
            for dropout in (False, True)
        ],
        "With dropout it reduces overfitting and gets even better (19.23 to 2.48 %, 16.00 to "
        "2.26 %).",
        "lowers",
    ),
    Ingredient(
        "dropout",
        [
            pair
            for method in ("", "_m1")
            for pair in (
                (f"wsal{method} lr=0.1", f"wsal_d{method} lr=0.2"),
                (f"wsal_b{method} lr=1", f"wsal_bd{method} lr=1"),
            )
        ],
        "With batch normalisation it reduces overfitting (19.23 to 16.00 %, 2.48 to 2.26 %).",
        "lowers",
    ),
    Ingredient(
        "dropout beside batch normalisation",
        [("wsal_b lr=1", "wsal_bd lr=1")],
        "Its table has 2.48 % without and 2.26 % with it; its text speaks of both together.",
        "lowers",
        pooled=False,
    ),
    Ingredient(
        "features merged in place of digits",
        [
            (f"{arch} lr={rate}", f"{arch}_m1 lr={rate}")
            for arch, rate in (("wsal", 0.1), ("wsal_d", 0.2), ("wsal_b", 1), ("wsal_bd", 1))
        ],
        "The first auxiliary loss, on the features of the convolutions, is worse, which surprised "
        "its authors; no numbers are shown.",
        "raises",
    ),
)
# What becomes of numbers that no study stands for, by their metric or by table and metric.
ELSEWHERE = {
    "train_seconds": "not comparable: another machine",
    ("text", "test_error_pct"): "a remark on the table",
}
# Why a number differs, by table, architecture, setting and metric.
EXPLAINED = {
    ("framework figure tanh", "", f"eta={rate}", "test_error_pct"): (
        "the report's runs share one draw of points, ours draw points anew: see the page of the "
        "mini framework"
    )
    for rate in ("0.01", "0.05", "0.1", "0.5")
}
