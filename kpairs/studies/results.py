"""Results of the rows of a folder: beside every reported number, and by ingredient."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from scipy import stats

from kpairs.files import atomic_path
from kpairs.networks import ARCHS, parameters_of
from kpairs.reports import RECIPES, REPORTS, part
from kpairs.studies import effects
from kpairs.studies.catalogue import STUDIES, declared
from kpairs.studies.compare import AGREES, DIFFERS, NOT_RUN, compare, numbers_of
from kpairs.studies.rows import name_of, rows_of, study_rows

QUESTIONS = ("weight sharing", "auxiliary losses", "both together")  # asked by several reports
_FIRST = [f"first_{name}" for name in ("ours", "std", "rounds", "low", "high", "p_value")]
_ADDED = (
    *("ours", "ours_std", "ours_median", "ours_rounds", "collapsed"),
    *("difference", "low", "high", "margin", "p_value", "verdict"),
    "resampled_p_value",
)


class Results:
    """The rows of a folder, read once when they are asked for, and what follows from them.

    `reports` are the keys of those whose numbers are compared.
    """

    def __init__(self, folder: str | Path, reports: Iterable[str] = REPORTS) -> None:
        self.folder, self.reports = Path(folder), tuple(reports)
        self._kept: dict[tuple[str, str], pd.DataFrame] = {}

    def rows(self, study: str, kind: str = "") -> pd.DataFrame:
        """Return a study's rows, or others of its rows that `rows_of` reads."""
        if (study, kind) not in self._kept:
            read = rows_of if kind else study_rows
            self._kept[study, kind] = read(self.folder, STUDIES[study], *([kind] if kind else []))
        return self._kept[study, kind]

    @cached_property
    def compared(self) -> dict[str, pd.DataFrame]:
        """The reported numbers of each study beside ours: see `kpairs.studies.compare.compare`."""
        studies = [study for study in STUDIES.values() if study.report in self.reports]
        return {study.name: compare(study, self.rows(study.name)) for study in studies}

    @cached_property
    def numbers(self) -> pd.DataFrame:
        """Every number of the reports beside ours, with a verdict: one row each."""
        frame = pd.concat([self._numbers(key) for key in self.reports], ignore_index=True)
        return frame.assign(fdr_p_value=adjusted(frame["p_value"]))

    @property
    def judged(self) -> pd.DataFrame:
        """The numbers for which there is an interval."""
        return self.numbers[self.numbers["as_expected"].isin(["yes", "no"])]

    def _numbers(self, report: str) -> pd.DataFrame:
        parts = [self.compared[s.name] for s in STUDIES.values() if s.report == report]
        if further := getattr(page_module(REPORTS[report].folder), "compared", None):
            parts.append(further(self.folder))
        judged = pd.concat([part[part["variant"] == ""] for part in parts])
        added = ["number", *_ADDED, *_FIRST, "as_expected"]
        frame = numbers_of(report).merge(judged[added], how="left", on="number")
        frame["as_expected"] = frame["as_expected"].fillna("")
        counted = (frame["metric"] == "parameters") & frame["arch"].isin(list(ARCHS))
        frame.loc[counted, "ours"] = [
            parameters_of(RECIPES[arch]) for arch in frame.loc[counted, "arch"]
        ]
        frame.loc[counted, "difference"] = frame["ours"] - frame["mean"]
        same = np.where(frame["difference"] == 0, AGREES, DIFFERS)
        frame.loc[counted, "verdict"] = same[counted]
        elsewhere, explained = (
            declared(name).get(report, {}) for name in ("ELSEWHERE", "EXPLAINED")
        )
        places = zip(frame["table"], frame["metric"], strict=True)
        others = [elsewhere.get(p) or elsewhere.get(p[1]) or NOT_RUN for p in places]
        frame["verdict"] = frame["verdict"].where(frame["verdict"].notna(), others)
        keys = zip(frame["table"], frame["arch"], frame["setting"], frame["metric"], strict=True)
        reasons = pd.Series([explained.get(key, "") for key in keys])
        needed = (frame["verdict"] == DIFFERS) | (frame["as_expected"] == "no")
        return frame.assign(explanation=reasons.where(needed, ""))

    @cached_property
    def paired(self) -> pd.DataFrame:
        """The differences that ingredients make, round by round."""
        ingredients = declared("INGREDIENTS")
        rows = {
            key: pd.concat([self.rows(s.name) for s in STUDIES.values() if s.report == key])
            for key in ingredients
        }
        return effects.differences(rows, ingredients)

    @cached_property
    def conclusions(self) -> pd.DataFrame:
        """The reports' ingredients, and ours on the same networks.

        A `DataFrame` of report, ingredient, conclusion (of the report, or empty), effect (an
        `Effect`, None if not run), answer (of `kpairs.studies.effects.borne_out`), left_out (rounds
        in which a training collapsed), and, without those, sound and sound_answer.
        """
        lines = []
        for report, mine in declared("INGREDIENTS").items():
            for one in mine:
                ours = self.paired.query("report == @report and ingredient == @one.name")
                sound = effects.without_collapsed(ours)
                effect, other = effects.mean_of(ours), effects.mean_of(sound)
                left_out = ours["round"].nunique() - sound["round"].nunique()
                answers = [effects.borne_out(one.claim, each) for each in (effect, other)]
                line = (report, one.name, one.conclusion, effect, answers[0])
                lines.append((*line, left_out, other, answers[1]))
        names = ["report", "ingredient", "conclusion", "effect", "answer"]
        return pd.DataFrame(lines, columns=[*names, "left_out", "sound", "sound_answer"])

    def pooled(self, sound: bool = False) -> dict[str, effects.Effect]:
        """Return the effect of each of `QUESTIONS` on networks in general, where there are two.

        `sound` leaves out rounds in which either training collapsed.
        """
        networks = effects.of_networks(self.paired[~self.paired["collapsed"] | (not sound)])
        mine = {name: networks[networks["ingredient"] == name] for name in QUESTIONS}
        return {name: effects.pool(frame) for name, frame in mine.items() if len(frame) > 1}

    @cached_property
    def points(self) -> pd.DataFrame:
        """The test error (%) of each architecture by its own recipe, beside its parameters.

        A `DataFrame` of group (report), arch, parameters and error.
        """
        lines: dict[str, tuple[str, str, int, float]] = {}
        for study in STUDIES.values():
            rows = self.rows(study.name)
            for setting in study.settings:
                recipe, arch = setting.recipe, setting.recipe.network.arch
                errors = rows.loc[name_of(rows) == setting.name, "test_error_pct"]
                own = recipe.key() == RECIPES[arch].key() and not setting.folds
                if own and len(errors) and arch not in lines:
                    known = report_name(study.report), arch, parameters_of(recipe)
                    lines[arch] = (*known, errors.mean())
        return pd.DataFrame(lines.values(), columns=["group", "arch", "parameters", "error"])


def adjusted(p_values: pd.Series) -> pd.Series:
    """Adjust p-values for the false discovery rate (Benjamini and Hochberg); NaN stays NaN."""
    known = p_values.dropna()
    found = stats.false_discovery_control(known) if len(known) else known
    return pd.Series(found, known.index).reindex(p_values.index)


def report_name(key: str) -> str:
    """Return a report's number and the surname of its first author; the key itself for ours."""
    if key not in REPORTS:
        return key
    return f"{REPORTS[key].number} {REPORTS[key].authors.split(',')[0].split()[-1]}"


def page_module(folder: str) -> ModuleType | None:
    """Return the module `page` of a folder, or None.

    It may give `compared(folder)`, reported numbers that no study stands for beside ours, as
    `beside` has them, and `pages(results)`, pages of its own.
    """
    return part(folder, "page")


def write_results(results: Results, path: str | Path) -> None:
    """Write every reported number beside ours, as CSV; docs/results.md explains the columns."""
    names = {"mean": "reported", "std": "reported_std", "rounds": "reported_rounds"}
    first = ["report", "table", "arch", "model", "setting", "metric", *names.values()]
    order = [*first, *_FIRST, "as_expected", *_ADDED, "fdr_p_value"]
    frame = results.numbers.rename(columns=names)[[*order, "explanation", "note", "source"]]
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
