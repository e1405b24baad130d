"""Results of the rows of a folder: beside every reported number, and by ingredient."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from kpairs.files import atomic_path
from kpairs.models.registry import trainable_parameters
from kpairs.networks import ARCHS, build
from kpairs.numbers import CONFIDENCE, interval_of
from kpairs.recipes import Recipe, Study
from kpairs.reports import RECIPES, REPORTS, part
from kpairs.studies import effects
from kpairs.studies.catalogue import STUDIES, declared
from kpairs.studies.compare import (
    AGREES,
    DIFFERS,
    NOT_RUN,
    VERDICTS,
    adjusted,
    compare,
    judge,
    numbers_of,
)
from kpairs.studies.rows import name_of, rows_of, study_rows

_ADDED = (
    *("ours", "ours_std", "ours_median", "ours_rounds", "collapsed"),
    *("difference", "low", "high", "margin", "p_value", "verdict"),
    "resampled_p_value",
)
# What is said of our rounds elsewhere, where the rounds are of the authors' own code.
_AUTHORS = {"ours": "authors", "ours_std": "authors_std", "ours_rounds": "authors_rounds"}
_AUTHORS |= {name: f"authors_{name}" for name in ("collapsed", "low", "high")}
_FEWEST = 5  # trainings on a side, for an interval that means something


@dataclass(frozen=True)
class Progress:
    """The finished part of a study.

    Attributes:
        least, most: rounds of a setting that was run.
        missing: settings that were not.
        further: settings with more rounds than the study has.
        trainings, collapsed: in all, and how many of them give every pair the same answer.
        first, first_collapsed: the same in as many rounds as the study has.
    """

    least: int
    most: int
    missing: int
    further: int
    trainings: int
    collapsed: int
    first: int
    first_collapsed: int


@dataclass(frozen=True)
class SameStart:
    """Our trainings and the authors' code's from the same first weights, in the same order.

    Attributes:
        trainings, settings: how many were trained by both.
        mean, low, high: test error of ours minus theirs in points, where neither collapsed, with
            its 95 % interval.
        apart: the mean size of these differences.
        ours, theirs, both: how many collapsed.
    """

    trainings: int
    settings: int
    mean: float
    low: float
    high: float
    apart: float
    ours: int
    theirs: int
    both: int


class Results:
    """The rows of a folder, read once, and what follows from them.

    Args:
        folder: of the CSVs that `kpairs study` and `kpairs mini` leave.
        reports: whose numbers are looked at.

    Raises:
        InputError: by whatever is asked for, where a file cannot be read.
    """

    def __init__(self, folder: str | Path, reports: Iterable[str] = REPORTS) -> None:
        self.folder, self.reports = Path(folder), tuple(reports)
        self._kept: dict[tuple[str, str], pd.DataFrame] = {}

    def rows(self, study: str, kind: str = "") -> pd.DataFrame:
        """Return a study's rows, or others of its rows that `rows_of` reads."""
        if (study, kind) not in self._kept:
            read = rows_of(self.folder, STUDIES[study], kind) if kind else None
            read = study_rows(self.folder, STUDIES[study]) if read is None else read
            self._kept[study, kind] = read
        return self._kept[study, kind]

    @cached_property
    def compared(self) -> dict[str, pd.DataFrame]:
        """The reported numbers of each study beside ours: see `kpairs.studies.compare.compare`."""
        return self._compared()

    def _compared(self, first: bool = False) -> dict[str, pd.DataFrame]:
        """Compare all rounds, or only the first ones, as many as the study has."""
        found = {}
        for study in STUDIES.values():
            if study.report in self.reports:
                rows = self.rows(study.name)
                rows = rows[rows["round"] <= study.rounds] if first else rows
                found[study.name] = compare(study, rows)
        return found

    def progress(self, study: Study) -> Progress:
        """Return the finished part of a study."""
        rows = self.rows(study.name)
        counts = name_of(rows).value_counts()
        least, most = (counts.min(), counts.max()) if len(counts) else (0, 0)
        missing = len(study.settings) - len(counts)
        further = int((counts > study.rounds).sum())
        first = rows[rows["round"] <= study.rounds]
        both = [
            count for part in (rows, first) for count in (len(part), int(part["collapsed"].sum()))
        ]
        return Progress(least, most, missing, further, *both)

    @cached_property
    def numbers(self) -> pd.DataFrame:
        """Every number of the reports beside ours, with a verdict: one row each."""
        frame = pd.concat([self._numbers(key) for key in self.reports], ignore_index=True)
        frame["fdr_p_value"] = adjusted(frame["p_value"])
        return frame

    @cached_property
    def _first(self) -> pd.DataFrame:
        """The judged numbers by the first rounds alone, as many as each study has."""
        compared = self._compared(first=True)
        parts = [self._judged(key, compared, first=True).assign(report=key) for key in self.reports]
        return pd.concat(parts, ignore_index=True)

    def _judged(
        self, report: str, compared: dict[str, pd.DataFrame], first: bool = False
    ) -> pd.DataFrame:
        parts = [compared[s.name] for s in STUDIES.values() if s.report == report]
        if further := getattr(page_module(REPORTS[report].folder), "compared", None):
            parts.append(further(self.folder, first))
        return pd.concat([part[part["variant"] == ""] for part in parts])

    def _numbers(self, report: str) -> pd.DataFrame:
        judged = self._judged(report, self.compared)
        frame = numbers_of(report).merge(judged[["number", *_ADDED]], how="left", on="number")
        counted = (frame["metric"] == "parameters") & frame["arch"].isin(list(ARCHS))
        frame.loc[counted, "ours"] = [
            parameters(RECIPES[arch]) for arch in frame.loc[counted, "arch"]
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
        frame["explanation"] = reasons.where(frame["verdict"] == DIFFERS, "")
        return frame

    def agreement(self, frame: pd.DataFrame) -> dict[str, int]:
        """Count the numbers of each verdict that were compared by rounds."""
        counts = frame.loc[frame["margin"].notna(), "verdict"].value_counts()
        return {verdict: int(counts.get(verdict, 0)) for verdict in VERDICTS}

    def chance(self, frame: pd.DataFrame) -> dict[str, int]:
        """Count the intervals of differences, and those that exclude 0.

        Args:
            frame: some of `numbers`.

        Returns:
            Counts: of `intervals`, of those that exclude 0 (`beyond`), that still do where the
            false discovery rate over all numbers is held at 5 % (`beyond_held`), and that do by the
            first rounds alone, as many as each study has (`beyond_first`).
        """
        judged = frame[frame["p_value"].notna()]
        keys = ["report", "number"]
        first = self._first.merge(judged[keys], on=keys)
        beyond, beyond_first = (
            each[(each["low"] > 0) | (each["high"] < 0)] for each in (judged, first)
        )
        held = int((beyond["fdr_p_value"] <= 1 - CONFIDENCE).sum())
        return {
            "intervals": len(judged),
            "beyond": len(beyond),
            "beyond_held": held,
            "beyond_first": len(beyond_first),
        }

    def differing(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the numbers that differ, beside the results of the authors' own code.

        Returns:
            These rows with what that code gives on the pairs of our rounds: `authors`,
            `authors_std`, `authors_rounds`, `authors_collapsed`, NaN where it was not trained; the
            95 % interval `apart_low` to `apart_high` of ours minus it, both without collapsed
            trainings, NaN where five on a side are not left; and `blame`: "kpairs" where that
            excludes 0, "report" where it does not and the code differs from its report on the same
            side as ours, else "".
        """
        found = frame[(frame["verdict"] == DIFFERS) & frame["p_value"].notna()]
        found = found.merge(self._authors, how="left", on=["report", "number"])
        known, low, high = found["apart_low"].notna(), found["apart_low"], found["apart_high"]
        beyond = np.where(found["difference"] > 0, found["authors_low"], -found["authors_high"])
        outcomes = [(low > 0) | (high < 0), known & (beyond > 0)]
        return found.assign(blame=np.select(outcomes, ["kpairs", "report"], ""))

    @cached_property
    def _authors(self) -> pd.DataFrame:
        """Results of the authors' own code, beside their reported numbers and ours."""
        parts = []
        for study in STUDIES.values():
            if study.report not in self.reports:
                continue
            rows = self.rows(study.name), self.rows(study.name, "authors")
            sound = (each[each["collapsed"] == 0] for each in rows)
            *both, whole = (
                frame[frame["variant"] == ""].set_index("number")
                for frame in (compare(study, each) for each in (*sound, rows[1]))
            )
            ours, theirs = ((f["ours"], f["ours_std"], f["ours_rounds"]) for f in both)
            apart = judge(*ours, *theirs, whole["margin"]).set_index(whole.index)
            few = np.minimum(ours[-1], theirs[-1]) < _FEWEST
            ends = apart[["low", "high"]].mask(few).add_prefix("apart_")
            whole = whole[whole["ours_rounds"] > 0].rename(columns=_AUTHORS)[[*_AUTHORS.values()]]
            parts.append(whole.join(ends).reset_index().assign(report=study.report))
        return pd.concat(parts)

    def same_start(self, study: str) -> SameStart | None:
        """Compare a study's trainings with the authors' own code's of the same start.

        None where fewer than five did not collapse.
        """
        keys = ["arch", "setting", "round"]
        mine, other = (self.rows(study, kind) for kind in ("", "same-start"))
        pairs = mine.merge(other, on=keys, suffixes=("", "_other"))
        ours, theirs = (pairs[name] == 1 for name in ("collapsed", "collapsed_other"))
        apart = (pairs["test_error_pct"] - pairs["test_error_pct_other"])[~ours & ~theirs]
        if len(apart) < _FEWEST:
            return None
        low, high = interval_of(apart)
        return SameStart(
            trainings=len(pairs),
            settings=len(pairs[keys[:2]].drop_duplicates()),
            mean=apart.mean(),
            low=low,
            high=high,
            apart=apart.abs().mean(),
            ours=int(ours.sum()),
            theirs=int(theirs.sum()),
            both=int((ours & theirs).sum()),
        )

    @cached_property
    def paired(self) -> pd.DataFrame:
        """The differences that ingredients make, round by round."""
        ingredients = declared("INGREDIENTS")
        return effects.differences(self._by_report(ingredients), ingredients)

    @cached_property
    def findings(self) -> list[effects.Finding]:
        """The effect of each ingredient that is pooled over reports."""
        names = {i.name for mine in declared("INGREDIENTS").values() for i in mine if i.pooled}
        return effects.findings(self.paired[self.paired["ingredient"].isin(names)])

    def _by_report(self, reports: Iterable[str]) -> dict[str, pd.DataFrame]:
        return {
            key: pd.concat([self.rows(s.name) for s in STUDIES.values() if s.report == key])
            for key in reports
        }

    @cached_property
    def conclusions(self) -> pd.DataFrame:
        """Reports' claims of ingredients, their own numbers, and ours on the same networks.

        Returns:
            A `DataFrame` of report, ingredient, conclusion, reported (difference of test error in
            points, NaN where none is stated), ours (an `Effect`, None if not run), borne_out
            (whether the side of 0 on which `ours` lies is the claimed one: "yes", "open", ...),
            collapsed_rounds (how many have a collapsed training), sound and borne_out_sound (the
            same without them).
        """
        ingredients = declared("INGREDIENTS")
        stated = effects.reported_differences(ingredients)
        lines = []
        for report, mine in ingredients.items():
            for one in mine:
                theirs = stated[(stated["report"] == report) & (stated["ingredient"] == one.name)]
                ours = self.paired
                ours = ours[(ours["report"] == report) & (ours["ingredient"] == one.name)]
                if len(theirs):
                    ours = ours.merge(theirs[["without", "with"]], on=["without", "with"])
                effect = effects.mean_of(ours)
                sound, collapsed_rounds = effects.without_collapsed(ours)
                lines.append(
                    {
                        "report": report,
                        "ingredient": one.name,
                        "conclusion": one.conclusion,
                        "reported": theirs.groupby("network")["difference"].mean().mean(),
                        "ours": effect,
                        "borne_out": effects.borne_out(one.claim, effect),
                        "collapsed_rounds": collapsed_rounds,
                        "sound": sound,
                        "borne_out_sound": effects.borne_out(one.claim, sound),
                    }
                )
        return pd.DataFrame(lines)

    def outcomes(self, column: str) -> list[int]:
        """Count the `conclusions` that are borne out, open and contradicted.

        Args:
            column: `borne_out` or `borne_out_sound`.
        """
        return [int((self.conclusions[column] == outcome).sum()) for outcome in effects.OUTCOMES]

    @cached_property
    def points(self) -> pd.DataFrame:
        """Test error beside parameters of each architecture, trained by its own recipe.

        Returns:
            A `DataFrame` of group (report), arch, parameters, error, std and rounds.
        """
        lines: dict[str, dict[str, Any]] = {}
        for study in STUDIES.values():
            rows = self.rows(study.name)
            for setting in study.settings:
                recipe = setting.recipe
                errors = rows.loc[name_of(rows) == setting.name, "test_error_pct"]
                own = recipe.key() == RECIPES[recipe.network.arch].key() and not setting.folds
                if own and len(errors) and recipe.network.arch not in lines:
                    lines[recipe.network.arch] = {
                        "group": report_name(study.report),
                        "arch": recipe.network.arch,
                        "parameters": parameters(recipe),
                        "error": errors.mean(),
                        "std": errors.std(),
                        "rounds": len(errors),
                    }
        columns = ["group", "arch", "parameters", "error", "std", "rounds"]
        return pd.DataFrame(list(lines.values()), columns=columns)


def report_name(key: str) -> str:
    """Return a report's name on pages: its number and first author; the key itself for ours."""
    return f"{REPORTS[key].number} {key}" if key in REPORTS else key


def parameters(recipe: Recipe) -> int:
    """Return the trainable parameters of a recipe's network."""
    return _count(recipe.network.arch, tuple(sorted(recipe.build_options.items())))


@cache
def _count(arch: str, options: tuple[tuple[str, Any], ...]) -> int:
    return trainable_parameters(build(arch, **dict(options)))


def page_module(folder: str) -> ModuleType | None:
    """Return the module `page` of a folder, or None.

    It may give `compared(folder, first)`, reported numbers that no study stands for beside ours (of
    the first rounds alone, as many as the report's), as `kpairs.studies.compare.beside` has them,
    and `pages(results)`, pages of its own.
    """
    return part(folder, "page")


def write_results(results: Results, path: str | Path) -> None:
    """Write every reported number beside ours, as CSV."""
    names = {"mean": "reported", "std": "reported_std", "rounds": "reported_rounds"}
    first = ["report", "table", "arch", "model", "setting", "metric", *names.values(), *_ADDED]
    frame = results.numbers.rename(columns=names)[
        [*first, "fdr_p_value", "explanation", "note", "source"]
    ]
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
