"""The reports' claims, as data."""

import csv
from dataclasses import dataclass
from importlib.resources import files

from kpairs.errors import unknown
from kpairs.reports import REPORTS


@dataclass(frozen=True)
class Reported:
    """One number that a report states."""

    report: str  # key in `kpairs.reports.REPORTS`
    table: str  # table, figure or other place in the report
    arch: str  # our architecture; empty where the number is of none of them
    model: str  # as the report calls it
    setting: str
    metric: str  # what is measured; `_pct` in percent
    mean: float
    std: float | None  # None where none is given
    rounds: int | None  # how many trainings stand behind it, None where it is not said
    source: str  # "report", or where in the authors' repository
    note: str  # what to know of it, such as why it contradicts the layers


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
