"""Every study of the reports, and our own, found in their folders."""

from typing import Any

from kpairs.errors import unknown
from kpairs.recipes import Study
from kpairs.reports import FOLDERS, REPORTS, part, report_key

STUDIES: dict[str, Study] = {
    study.name: study
    for folder in FOLDERS
    for study in getattr(part(folder, "studies"), "STUDIES", ())
}


def studies_of(name: str) -> list[Study]:
    """Return the studies of a name: a study's, a report's key or number (all of its), or "all"."""
    report = report_key(name)
    found = [s for s in STUDIES.values() if name in ("all", s.name) or report == s.report]
    if not found:
        raise unknown("study", name, names())
    return found


def names() -> list[str]:
    """Return every name that `studies_of` takes, but for the reports' numbers."""
    return ["all", *dict.fromkeys(study.report for study in STUDIES.values()), *STUDIES]


def declared(name: str) -> dict[str, Any]:
    """Return an optional constant of the reports' `studies.py`, by report.

    They are INGREDIENTS (a tuple of `Ingredient`), LABELS (settings' names on pages), ELSEWHERE (of
    numbers that no study stands for, by metric or by table and metric), and EXPLAINED (why a number
    differs, by table, architecture, setting and metric).
    """
    modules = {key: part(report.folder, "studies") for key, report in REPORTS.items()}
    return {key: getattr(m, name) for key, m in modules.items() if hasattr(m, name)}
