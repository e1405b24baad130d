"""The studies of report 002: its tables and figures as settings."""

from kpairs.recipes import Ingredient, Setting, Study
from kpairs.reports.chassagne.recipes import RECIPES

STUDIES = (
    Study(
        "chassagne-table",
        "chassagne",
        "The table: dropout and batch normalisation on a shared network, and a ResNet",
        [
            Setting(RECIPES[arch], f"lr={RECIPES[arch].optimizer.learning_rate:g}")
            for arch in ("basic", "wsal", "wsal_d", "wsal_b", "wsal_bd", "resnet")
        ],
        10,
        tables=["Table"],
        metrics=["test_error_pct"],
    ),
    Study(
        "chassagne-method-1",
        "chassagne",
        "The first auxiliary loss (section 1.1.2), whose numbers the report does not show",
        [
            Setting(RECIPES[arch], f"lr={RECIPES[arch].optimizer.learning_rate:g}")
            for arch in ("wsal_m1", "wsal_d_m1", "wsal_b_m1", "wsal_bd_m1")
        ],
        10,
    ),
)

INGREDIENTS = (
    Ingredient(
        "both together",
        [("basic lr=1", "wsal lr=0.1")],
        "Weight sharing and auxiliary losses together improve the performance.",
        "lowers",
    ),
    Ingredient(
        "batch normalisation",
        [("wsal lr=0.1", "wsal_b lr=1"), ("wsal_d lr=0.2", "wsal_bd lr=1")],
        "Batch normalisation reduces overfitting.",
        "lowers",
    ),
    Ingredient(
        "dropout",
        [("wsal lr=0.1", "wsal_d lr=0.2"), ("wsal_b lr=1", "wsal_bd lr=1")],
        "Dropout reduces overfitting.",
        "lowers",
    ),
    Ingredient(
        "dropout beside batch normalisation",
        [("wsal_b lr=1", "wsal_bd lr=1")],
        "Beside batch normalisation dropout still helps (by its table).",
        "lowers",
    ),
    Ingredient(
        "features merged in place of digits",
        [
            (f"{arch} lr={rate}", f"{arch}_m1 lr={rate}")
            for arch, rate in (("wsal", 0.1), ("wsal_d", 0.2), ("wsal_b", 1), ("wsal_bd", 1))
        ],
        "An auxiliary loss on features of the convolutions is worse (no numbers shown).",
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
        "its runs share one draw of points, ours draw points anew"
    )
    for rate in ("0.01", "0.05", "0.1", "0.5")
}

LABELS = {setting.setting: "" for setting in STUDIES[0].settings}  # names of settings on pages
