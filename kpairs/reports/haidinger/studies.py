"""The studies of report 001: its tables and figures as settings."""

from dataclasses import replace

from kpairs.recipes import Setting, Study
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
            Setting(replace(RECIPES[arch], augmentation="none"), "not augmented")
            for arch in ("simple", "ws", "auxws")
        ],
        20,
        [],
    ),
)
