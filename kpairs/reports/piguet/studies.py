"""The studies of report 000: its tables and figures as settings."""

from kpairs.recipes import Ingredient, Recipe, Setting, Study, weights
from kpairs.reports.piguet.recipes import RECIPES


def _weighed(arch: str, comparison: float, digit: float) -> Recipe:
    return RECIPES[arch].replace(loss_weights=weights(comparison, digit))


def _one_softmax(arch: str, factor: float) -> Recipe:
    return _weighed(f"{arch}_ws", 1.0, factor).replace(probabilities_as_logits=False)


# Report 000 trains the auxiliary heads by factors 0, 0.1 and 1; they are there at factor 0 too.
_FACTORS = {"baseline": 0.0, "aux_0.1": 0.1, "aux_1": 1.0}
_SHARED_FACTORS = {"ws": 0.0, "ws+aux_0.1": 0.1, "ws+aux_1": 1.0}
_ALONE, _AUXILIARY = "ws, one softmax", "ws+aux_1, one softmax"
_DIGITS_READ = f"{_AUXILIARY}, exact head"
_NETWORKS = ("c1l2", "c2l2", "c2l3", "c3l2", "c4l2")

STUDIES = (
    Study(
        "piguet-table-2",
        "piguet",
        "Table 2 and Figure 1: five networks, with and without weight sharing and auxiliary losses",
        [
            Setting(_weighed(arch + suffix, 1.0, factor), setting)
            for suffix, factors in (("", _FACTORS), ("_ws", _SHARED_FACTORS))
            for setting, factor in factors.items()
            for arch in _NETWORKS
        ],
        20,
        tables=["Table 2"],
        metrics=["test_error_pct"],
        curves=[
            *(f"c4l2 {setting}" for setting in _FACTORS),
            *(f"c4l2_ws {setting}" for setting in _SHARED_FACTORS),
        ],
    ),
    Study(
        "piguet-one-softmax",
        "piguet",
        "Why do auxiliary losses bring so little here? One softmax, and nothing but digits to read",
        [
            Setting(_one_softmax(arch, factor).replace(head=head), setting)
            for setting, factor, head in (
                (_ALONE, 0.0, "own"),
                (_AUXILIARY, 1.0, "own"),
                (_DIGITS_READ, 1.0, "posterior"),
            )
            for arch in _NETWORKS
        ],
        10,
        note=(
            "no report trained these: Table 2's networks with shared weights, without the second "
            "softmax; with the exact head the comparison follows from the digits alone"
        ),
    ),
)

INGREDIENTS = (
    Ingredient(
        "weight sharing",
        [
            (f"{arch} {without}", f"{arch}_ws {shared}")
            for arch in _NETWORKS
            for without, shared in zip(_FACTORS, _SHARED_FACTORS, strict=True)
        ],
        "Weight sharing slightly improves accuracy, whatever the network.",
        "lowers",
    ),
    Ingredient(
        "auxiliary losses",
        [
            (f"{arch}{suffix} {without}", f"{arch}{suffix} {weighed}")
            for suffix, (without, *others) in (("", _FACTORS), ("_ws", _SHARED_FACTORS))
            for arch in _NETWORKS
            for weighed in others
        ],
        "Auxiliary losses slightly improve accuracy, whatever the network.",
        "lowers",
    ),
    Ingredient(
        "auxiliary losses weighed 0.1 in place of 1",
        [
            (f"{arch}{suffix} {one}", f"{arch}{suffix} {tenth}")
            for suffix, (_, tenth, one) in (("", _FACTORS), ("_ws", _SHARED_FACTORS))
            for arch in _NETWORKS
        ],
        "An auxiliary weight of 0.1 seems best (held against 1).",
        "lowers",
    ),
    Ingredient(
        "auxiliary losses of factor 1, weights shared",
        [(f"{arch}_ws ws", f"{arch}_ws ws+aux_1") for arch in _NETWORKS],
    ),
    Ingredient(
        "the same after one softmax",
        [(f"{arch}_ws {_ALONE}", f"{arch}_ws {_AUXILIARY}") for arch in _NETWORKS],
    ),
    Ingredient(
        "an exact comparison of digits in place of a learned one",
        [(f"{arch}_ws {_AUXILIARY}", f"{arch}_ws {_DIGITS_READ}") for arch in _NETWORKS],
    ),
    Ingredient(
        "both together",
        [
            (f"{arch} baseline", f"{arch}_ws {setting}")
            for arch in _NETWORKS
            for setting in ("ws+aux_0.1", "ws+aux_1")
        ],
        "C4L2 with both has the least error.",
        "lowers",
    ),
)
# What becomes of numbers that no study stands for, by their metric or by table and metric.
ELSEWHERE = {
    "seconds_per_epoch": "not comparable: another machine",
    ("Table 2 (unrounded)", "test_error_pct"): "Table 2 before rounding",
    ("text", "test_error_pct"): "a remark on Table 2",
}
# Names of settings on pages.
LABELS = {
    "baseline": "neither",
    "aux_0.1": "auxiliary 0.1",
    "aux_1": "auxiliary 1",
    "ws": "sharing",
    "ws+aux_0.1": "sharing, auxiliary 0.1",
    "ws+aux_1": "sharing, auxiliary 1",
}
