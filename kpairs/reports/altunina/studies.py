"""The studies of report 004: its tables and figures as settings."""

from collections.abc import Sequence
from itertools import product

from kpairs.recipes import Ingredient, Setting, Study
from kpairs.reports.altunina.recipes import RECIPES

_WIDTHS = (16, 32, 64, 128, 256, 512)


def count_parameters(arch: str, widths: Sequence[int]) -> int:
    """Count a report 004 network's parameters by its four sizes; no model is built."""
    a, b, c, d = widths
    three = 9 * a + a + 9 * a * b + b + 4 * b * c + c  # convolutions of kernels 3, 3 and 2
    two = 9 * a + a + 9 * a * b + b
    if arch == "basicnet1":
        return three + 9 * a + (c + 1) * d + (d + 1) * 2  # two channels come in
    if arch == "auxnet1":
        return three + (c + 1) * d + (d + 1) * 10 + 21 * d + (d + 1) * 2
    if arch == "auxnet2":
        return three + (c + 1) * d + (d + 1) * 10 + (2 * c + 1) * d + (d + 1) * 2
    digit = (b + 1) * c + (c + 1) * d + (d + 1) * 10
    return two + digit + (2 * b + 1) * c + (c + 1) * d + (d + 1) * 2


def sized(arch: str) -> list[tuple[int, ...]]:
    """Return every choice of widths from 16 to 512 with 65,000 to 75,000 parameters.

    Report 004's search space, in its order.
    """
    return [
        widths
        for widths in product(_WIDTHS, repeat=4)
        if 65_000 < count_parameters(arch, widths) < 75_000
    ]


_BEST_AND_LAST = [
    "best_epoch_val_accuracy_pct",
    "best_epoch_train_accuracy_pct",
    "final_epoch_val_accuracy_pct",
]

STUDIES = (
    Study(
        "altunina-figure-1",
        "altunina",
        "Figure 1: every size of four networks between 65,000 and 75,000 parameters",
        [
            Setting(
                RECIPES[arch].with_options(widths=widths),
                f"net_params {'-'.join(map(str, widths))}",
            )
            for arch in ("basicnet1", "auxnet1", "auxnet2", "auxnet3")
            for widths in sized(arch)
        ],
        5,
        tables=["Figure 1"],
        metrics=_BEST_AND_LAST,
        note=(
            "23 of the report's own 545 trainings collapsed too, by its raw outputs: their "
            "accuracies, on both sets of pairs, end constant and below 60 % "
            "(docs/experiments/altunina_outputs.py counts them)"
        ),
    ),
    Study(
        "altunina-figure-2",
        "altunina",
        "Figure 2: learning rates and batch sizes of AuxNet2",
        [
            *(
                Setting(RECIPES["auxnet2"].replace(learning_rate=rate), f"learning_rates {rate:g}")
                for rate in (1e-4, 5e-4, 1e-3, 5e-3, 1e-2)
            ),
            *(
                Setting(RECIPES["auxnet2"].replace(batch_size=size), f"batch_sizes {size}")
                for size in (25, 50, 100, 200, 500, 1000)
            ),
        ],
        5,
        tables=["Figure 2"],
        metrics=_BEST_AND_LAST,
        note=(
            "learning rate 0.005, batch size 100 and AuxNet2 32-32-64-256 of Figure 1 are one "
            "recipe, which the report trained five times for each; ours are the same trainings"
        ),
    ),
    Study(
        "altunina-best",
        "altunina",
        "The program's 'train best': the best size of AuxNet2, ten times",
        [Setting(RECIPES["auxnet2"])],
        10,
    ),
    Study(
        "altunina-fastest",
        "altunina",
        "The program's default: the fastest network that suffices, AuxNet3 16-32-64-128",
        [
            Setting(
                RECIPES["auxnet3"].replace(batch_size=200).with_options(widths=(16, 32, 64, 128))
            )
        ],
        10,
    ),
)

INGREDIENTS = (
    Ingredient(
        "both together",
        [("basicnet1 net_params 32-128-64-16", "auxnet2 net_params 32-32-64-256")],
        "Weight sharing and auxiliary losses help (best sizes of AuxNet2 and BasicNet1).",
        "lowers",
    ),
    Ingredient(
        "a third convolution in place of a third linear layer",
        [("auxnet3 net_params 16-64-128-128", "auxnet2 net_params 32-32-64-256")],
        "More convolutional layers may beat more linear ones (AuxNet2 and AuxNet3).",
        "lowers",
    ),
    Ingredient(
        "learning rate 0.005 in place of 0.001",
        [("auxnet2 learning_rates 0.001", "auxnet2 learning_rates 0.005")],
        "A learning rate of 0.005 is the best of five (held against 0.001, the next).",
        "lowers",
    ),
    Ingredient(
        "batches of 50 in place of 100",
        [("auxnet2 batch_sizes 100", "auxnet2 batch_sizes 50")],
        "A batch of 50 is the best of six sizes (held against 100, the next).",
        "lowers",
    ),
)
# What becomes of numbers that no study stands for, by their metric or by table and metric.
ELSEWHERE = {
    ("text", "mean_val_accuracy_pct"): "a remark on Figure 1",
    ("text", "gap_pct"): "a remark on Figure 1",
}
# Names of settings on pages.
LABELS = {s.setting: s.setting.removeprefix("net_params ") for s in STUDIES[0].settings} | {
    s.setting: s.setting.replace("_", " ").replace("s ", " ") for s in STUDIES[1].settings
}
