"""The studies of report 002: its tables and figures as settings."""

from kpairs.recipes import Setting, Study
from kpairs.reports.chassagne.recipes import RECIPES

STUDIES = (
    Study(
        "chassagne-table",
        "chassagne",
        ["Table"],
        "The table: dropout and batch normalisation on a shared network, and a ResNet",
        [
            Setting(RECIPES[arch], f"lr={RECIPES[arch].learning_rate:g}")
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
            Setting(RECIPES[arch], f"lr={RECIPES[arch].learning_rate:g}")
            for arch in ("wsal_m1", "wsal_d_m1", "wsal_b_m1", "wsal_bd_m1")
        ],
        10,
        [],
    ),
)
