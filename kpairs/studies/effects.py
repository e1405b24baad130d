"""What one ingredient brings: the same network with it and without, over all reports."""

import math
import statistics
from dataclasses import dataclass

from kpairs.studies.rows import difference_interval, name_of

# ingredient: (study, without, with), each a setting's name in that study.
EFFECTS = {
    "weight sharing": [
        *(
            ("piguet-table-2", f"{arch} {without}", f"{arch}_ws {shared}")
            for without, shared in (
                ("baseline", "ws"),
                ("aux_0.1", "ws+aux_0.1"),
                ("aux_1", "ws+aux_1"),
            )
            for arch in ("c1l2", "c2l2", "c2l3", "c3l2", "c4l2")
        ),
        ("haidinger-figure-2", "simple augmented x18", "ws augmented x18"),
        ("kong-table-3", "no_w_net", "w_net"),
        ("kong-table-3", "a_net", "a_w_net"),
    ],
    "auxiliary losses": [
        *(
            ("piguet-table-2", f"{arch}{suffix} {without}", f"{arch}{suffix} {weighed}")
            for suffix, without, weighed in (("", "baseline", "aux_1"), ("_ws", "ws", "ws+aux_1"))
            for arch in ("c1l2", "c2l2", "c2l3", "c3l2", "c4l2")
        ),
        ("haidinger-figure-2", "ws augmented x18", "auxws augmented x18"),
        ("haidinger-plain", "ws not augmented", "auxws not augmented"),
        ("kong-table-3", "no_w_net", "a_net"),
        ("kong-table-3", "w_net", "a_w_net"),
    ],
    "batch normalisation": [
        ("chassagne-table", "wsal lr=0.1", "wsal_b lr=1"),
        ("chassagne-table", "wsal_d lr=0.2", "wsal_bd lr=1"),
    ],
    "dropout": [
        ("chassagne-table", "wsal lr=0.1", "wsal_d lr=0.2"),
        ("chassagne-table", "wsal_b lr=1", "wsal_bd lr=1"),
        ("kong-table-3", "a_w_net", "final_model"),
        ("kong-dropout", "final_model dropout=0", "final_model dropout=0.4"),
    ],
    "augmentation": [
        ("haidinger-plain+figure-2", f"{arch} not augmented", f"{arch} augmented x18")
        for arch in ("simple", "ws", "auxws")
    ],
}
NOTES = {
    "batch normalisation": "Report 002 gives each network its own learning rate, so this is the "
    "effect of both.",
    "dropout": "In report 002 the networks' learning rates differ too (0.1 and 0.2).",
}


@dataclass(frozen=True)
class Effect:
    """Test error with an ingredient minus without, in points.

    Attributes:
        study, without, with_: what is compared.
        difference, low, high: mean difference and its 95 % interval (Welch).
        size: Cohen's d: the difference in units of the pooled deviation.
        counts: trainings without and with.
    """

    study: str
    without: str
    with_: str
    difference: float
    low: float
    high: float
    size: float
    counts: tuple[int, int]


def effects_of(rows):
    """The effects that there are enough trainings for, by ingredient.

    Args:
        rows: of every study, by its name, as `kpairs.studies.rows.collect` gives them.
    """
    found = {}
    for ingredient, pairs in EFFECTS.items():
        for study, without, with_ in pairs:
            parts = _parts(study)
            values = [_errors(rows, parts, name) for name in (without, with_)]
            if min(map(len, values)) > 1:
                found.setdefault(ingredient, []).append(_effect(study, without, with_, *values))
    return found


def _parts(study):
    """The studies that a comparison across two of them names."""
    if "+" not in study:
        return [study]
    first, second = study.split("+")
    return [first, f"{first.split('-')[0]}-{second}"]


def _errors(rows, studies, name):
    return [
        row["test_error_pct"]
        for study in studies
        for row in rows.get(study, ())
        if name_of(row) == name
    ]


def _effect(study, without, with_, before, after):
    samples = [(statistics.fmean(v), statistics.stdev(v), len(v)) for v in (after, before)]
    low, high = difference_interval(*samples[0], *samples[1])
    difference = samples[0][0] - samples[1][0]
    pooled = math.sqrt(
        sum((n - 1) * std**2 for _, std, n in samples) / (len(before) + len(after) - 2)
    )
    size = difference / pooled if pooled else math.nan
    return Effect(study, without, with_, difference, low, high, size, (len(before), len(after)))
