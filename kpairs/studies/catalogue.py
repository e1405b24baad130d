"""Every study of the five reports, as data, and our own."""

from dataclasses import replace
from itertools import product

from kpairs.errors import unknown
from kpairs.recipes import RECIPES
from kpairs.studies.ours import OURS
from kpairs.studies.study import Setting, Study

STUDIES: dict[str, Study] = {}


def _study(name, report, tables, title, settings, rounds, metrics, curves=(), note=""):
    STUDIES[name] = Study(
        name,
        report,
        tuple(tables),
        title,
        tuple(settings),
        rounds,
        tuple(metrics),
        tuple(curves),
        note,
    )


def _weighed(arch, comparison, digit):
    weights = {"comparison": comparison, "left_digit": digit, "right_digit": digit}
    return replace(RECIPES[arch], loss_weights=weights)


# Report 000 trains the auxiliary heads by factors 0, 0.1 and 1; they are there at factor 0 too.
_FACTORS = {"baseline": 0.0, "aux_0.1": 0.1, "aux_1": 1.0}
_SHARED_FACTORS = {"ws": 0.0, "ws+aux_0.1": 0.1, "ws+aux_1": 1.0}
_study(
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
)

_study(
    "haidinger-figure-2",
    "haidinger",
    ["Figure 2"],
    "Figure 2: a plain network, weight sharing, and weight sharing with auxiliary losses",
    [Setting(RECIPES[arch], "augmented x18") for arch in ("simple", "ws", "auxws")],
    20,
    ["train_accuracy_pct", "test_accuracy_pct"],
    [f"{arch} augmented x18" for arch in ("simple", "ws", "auxws")],
)
_study(
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
)

_study(
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
)
_study(
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
)

_study(
    "kong-table-1",
    "kong",
    ["Table I"],
    "Table I: networks of one kind of layer, and the CNN baseline",
    [
        Setting(RECIPES[arch], "4-fold CV", folds=4)
        for arch in ("fc_1", "fc_2", "fc_3", "conv_1", "conv_2", "conv_3", "cnn_base")
    ]
    + [  # as the authors' code has them; the text says ReLU
        Setting(replace(RECIPES[arch], activation="sigmoid"), "4-fold CV, sigmoid units", folds=4)
        for arch in ("fc_1", "fc_2", "fc_3")
    ],
    4,
    ["validation_accuracy"],
    note="4 folds of one draw of 1,000 pairs",
)
_study(
    "kong-table-2",
    "kong",
    ["Table II"],
    "Table II and Figure 4: the weight of the comparison loss",
    [
        Setting(_weighed("a_w_net", ratio, 1.0), f"loss_ratio={ratio:g}", folds=4)
        for ratio in (2.0, 1.5, 1.0, 0.5, 0.1)
    ],
    4,
    ["validation_accuracy"],
    ["a_w_net loss_ratio=1"],
    note="4 folds of one draw of 1,000 pairs",
)
_study(
    "kong-table-3",
    "kong",
    ["Table III"],
    "Table III: weight sharing, auxiliary losses and dropout on the CNN baseline",
    [
        Setting(RECIPES[arch])
        for arch in ("cnn_base", "no_w_net", "w_net", "a_net", "a_w_net", "final_model")
    ],
    10,
    ["validation_accuracy"],
)
_study(
    "kong-dropout",
    "kong",
    [],
    "The scan of dropout rates, of which the report states only the best, 0.4",
    [
        Setting(replace(RECIPES["final_model"], dropout=rate), f"dropout={rate:g}", folds=4)
        for rate in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    ],
    4,
    [],
    note="4 folds of one draw of 1,000 pairs",
)

_WIDTHS = (16, 32, 64, 128, 256, 512)


def count_parameters(arch, widths):
    """Trainable parameters of a report 004 network, by arithmetic: no model is built.

    Args:
        arch: basicnet1, auxnet1, auxnet2 or auxnet3.
        widths: its four sizes.
    """
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


def sized(arch, least=65_000, most=75_000):
    """Every choice of widths from 16 to 512 with more than `least`, fewer than `most` parameters.

    Report 004's search space, in its order.
    """
    return [
        widths
        for widths in product(_WIDTHS, repeat=4)
        if least < count_parameters(arch, widths) < most
    ]


_BEST_AND_LAST = [
    "best_epoch_val_accuracy_pct",
    "best_epoch_train_accuracy_pct",
    "final_epoch_val_accuracy_pct",
]
_study(
    "altunina-figure-1",
    "altunina",
    ["Figure 1"],
    "Figure 1: every size of four networks between 65,000 and 75,000 parameters",
    [
        Setting(
            replace(RECIPES[arch], widths=widths),
            f"net_params {'-'.join(map(str, widths))}",
        )
        for arch in ("basicnet1", "auxnet1", "auxnet2", "auxnet3")
        for widths in sized(arch)
    ],
    5,
    _BEST_AND_LAST,
)
_study(
    "altunina-figure-2",
    "altunina",
    ["Figure 2"],
    "Figure 2: learning rates and batch sizes of AuxNet2",
    [
        *(
            Setting(replace(RECIPES["auxnet2"], learning_rate=rate), f"learning_rates {rate:g}")
            for rate in (1e-4, 5e-4, 1e-3, 5e-3, 1e-2)
        ),
        *(
            Setting(replace(RECIPES["auxnet2"], batch_size=size), f"batch_sizes {size}")
            for size in (25, 50, 100, 200, 500, 1000)
        ),
    ],
    5,
    _BEST_AND_LAST,
)
_study(
    "altunina-best",
    "altunina",
    [],
    "The program's 'train best': the best size of AuxNet2, ten times",
    [Setting(RECIPES["auxnet2"])],
    10,
    [],
)
_study(
    "altunina-fastest",
    "altunina",
    [],
    "The program's default: the fastest network that suffices, AuxNet3 16-32-64-128",
    [Setting(replace(RECIPES["auxnet3"], widths=(16, 32, 64, 128), batch_size=200))],
    10,
    [],
)
STUDIES.update({study.name: study for study in OURS})


def studies_of(name):
    """The studies that a name stands for: a study, a report's key (all of its), or "all".

    Raises:
        UsageError: none of these.
    """
    found = [s for s in STUDIES.values() if name in ("all", s.name, s.report)]
    if not found:
        reports = sorted({study.report for study in STUDIES.values()})
        raise unknown("study", name, ["all", *reports, *STUDIES])
    return found
