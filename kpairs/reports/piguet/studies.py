"""The studies of report 000: its tables and figures as settings."""

from dataclasses import replace

from kpairs.recipes import Setting, Study, weights
from kpairs.reports.piguet.recipes import RECIPES


def _weighed(arch, comparison, digit):
    return replace(RECIPES[arch], loss_weights=weights(comparison, digit))


# Report 000 trains the auxiliary heads by factors 0, 0.1 and 1; they are there at factor 0 too.
_FACTORS = {"baseline": 0.0, "aux_0.1": 0.1, "aux_1": 1.0}
_SHARED_FACTORS = {"ws": 0.0, "ws+aux_0.1": 0.1, "ws+aux_1": 1.0}

STUDIES = (
    Study(
        "piguet-table-2",
        "piguet",
        ["Table 2"],
        "Table 2 and Figure 1: five networks, with and without weight sharing and auxiliary losses",
        [
            Setting(_weighed(arch + suffix, 1.0, factor), setting)
            for suffix, factors in (("", _FACTORS), ("_ws", _SHARED_FACTORS))
            for setting, factor in factors.items()
            for arch in ("c1l2", "c2l2", "c2l3", "c3l2", "c4l2")
        ],
        20,
        ["test_error_pct"],
        [
            *(f"c4l2 {setting}" for setting in _FACTORS),
            *(f"c4l2_ws {setting}" for setting in _SHARED_FACTORS),
        ],
    ),
)
