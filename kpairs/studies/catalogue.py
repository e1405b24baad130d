"""Every study of the reports, and our own, found in their folders."""

from kpairs.errors import unknown
from kpairs.recipes import Study
from kpairs.reports import FOLDERS, part

STUDIES: dict[str, Study] = {
    study.name: study
    for folder in FOLDERS
    for study in getattr(part(folder, "studies"), "STUDIES", ())
}


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
