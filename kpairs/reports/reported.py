"""The reports' claims, as data."""

import csv
from dataclasses import dataclass
from importlib.resources import files

from kpairs.errors import unknown
from kpairs.reports import REPORTS


@dataclass(frozen=True)
class Reported:
    """One number that a report states.

    Attributes:
        report: key in `kpairs.reports.REPORTS`.
        table: table, figure or other place in the report.
        arch: our architecture; empty where the number is of none of them.
        model, setting: what the report calls it.
        metric: what is measured; `_pct` in percent.
        mean, std: the number and its standard deviation, None where none is given.
        rounds: how many trainings stand behind it, None where it is not said.
        source: "report", or where in the authors' repository.
        note: what to know of it, such as why it contradicts the layers.
    """

    report: str
    table: str
    arch: str
    model: str
    setting: str
    metric: str
    mean: float
    std: float | None
    rounds: int | None
    source: str
    note: str


def reported(report: str) -> list[Reported]:
    """Return every number of one report, in its order; UsageError tells of an unknown one."""
    if report not in REPORTS:
        raise unknown("report", report, REPORTS)
    file = files(REPORTS[report].folder).joinpath("reported.csv")
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return [
        Reported(
            report=report,
            **{k: row[k] for k in ("table", "arch", "model", "setting", "metric")},
            mean=float(row["mean"]),
            std=float(row["std"]) if row["std"] else None,
            rounds=int(row["rounds"]) if row["rounds"] else None,
            source=row["source"],
            note=row["note"],
        )
        for row in csv.DictReader(text.splitlines())
    ]


def stated_parameters(report: str, arch: str) -> Reported | None:
    """Return the parameter count that a report states of an architecture, if it does."""
    rows = reported(report) if report in REPORTS else []
    return next((r for r in rows if r.arch == arch and r.metric == "parameters"), None)
