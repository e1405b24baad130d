"""A page per report, one across them, one of the method, and our own.

The words stand in templates: `page.md.j2` in each report's folder, or `report.md.j2` here where a
report has none. Numbers, tables and figures come from the rows, by the methods of the pages.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from kpairs.markdown import environment, table
from kpairs.numbers import interval_of, plus_minus, span
from kpairs.recipes import Study
from kpairs.reports import FOLDERS, REPORTS
from kpairs.studies import effects, figures
from kpairs.studies.catalogue import STUDIES
from kpairs.studies.compare import DIFFERS, METRICS, judge, measured
from kpairs.studies.page import Page, shown
from kpairs.studies.results import (
    QUESTIONS,
    Results,
    adjusted,
    page_module,
    report_name,
    write_results,
)
from kpairs.studies.rows import name_of

_FEWEST = 5  # trainings on a side, for an interval that means something


def write_pages(
    rows_folder: str | Path, out: str | Path, reports: Iterable[str] | None = None
) -> list[Path]:
    """Write the pages of reports from their studies' rows, and every number into `results.csv`.

    By default all reports, the page across them and those of our own; figures go into `figures/`
    below `out`. Returns the files written. Raises InputError for rows that cannot be read.
    """
    wanted = REPORTS if reports is None else list(reports)
    results, out = Results(rows_folder, wanted), Path(out)
    pages: list[Page] = []
    for folder in FOLDERS:
        key = folder.rpartition(".")[2]
        if reports is None or key in wanted:
            pages += [ReportPage(key, results)] if key in REPORTS else []
            if further := getattr(page_module(folder), "pages", None):
                pages += further(results)
    pages += [Overview(results)] if reports is None else []
    pages += [MethodPage(results), Page("results", "studies/results.md.j2", results)]
    files = [file for page in pages for file in page.write(out)]
    write_results(results, out / "results.csv")
    return [*files, out / "results.csv"]


class ReportPage(Page):
    """The page of one report."""

    def __init__(self, key: str, results: Results) -> None:
        report, own = REPORTS[key], f"reports/{key}/page.md.j2"
        known = own in environment("kpairs").list_templates()
        template = own if known else "studies/report.md.j2"
        super().__init__(f"{report.number}-{key}", template, results)
        self.key, self.report = key, report
        self.studies = [s for s in STUDIES.values() if s.report == key]
        # Of numbers that studies stand for; others may have a page of their own.
        tables = {name for study in self.studies for name in study.tables}
        numbers = results.numbers[results.numbers["report"] == key]
        self.numbers = shown(numbers[numbers["first_rounds"] > 0])
        self.rest = numbers[numbers["margin"].isna()]
        self.main = self.numbers[self.numbers["table"].isin(tables)]

    def dots(self, frame: pd.DataFrame, label: str = "") -> Markup:
        """Draw reported and our means beside each other; nothing before anything was run."""
        if frame.empty:
            return Markup("No training has been run yet.\n")
        label = label or METRICS[frame["metric"].iloc[0]].label
        first = frame["table"] == frame["table"].iloc[0]
        frame = frame.assign(
            group=frame["model"].where(first, frame["table"].str.replace("Figure", "Fig."))
        )
        if len(frame) > figures.MOST:
            groups = frame.groupby("group", sort=False)
            frame = pd.concat([rows.sort_values("mean") for _, rows in groups])
        theirs, ours = (f"{frame[n].min():.4g} to {frame[n].max():.4g}" for n in ("mean", "ours"))
        words = f"{label} of {len(frame)} settings: reported {theirs}, by kpairs {ours}"
        caption = "Lines are 95 % intervals of the means; ✗: that of the difference excludes 0."
        return self.picture("numbers", figures.numbers(frame, label), words, caption)

    def table(self, frame: pd.DataFrame, rows: str, columns: str) -> Markup:
        """Return a table of cells "reported / ours", marked where the interval excludes it."""
        cells = frame.assign(
            cell=[
                f"{_short(r.mean, r.metric)} / {_short(r.ours, r.metric)}"
                + " ✗" * (r.as_expected == "no")
                for r in frame.itertuples()
            ]
        )
        wide = cells.pivot_table(
            index=rows, columns=columns, values="cell", aggfunc="first", sort=False
        )
        return table(wide.rename_axis(columns=None).reset_index(names=""))

    def every(self) -> Markup:
        """Return the table of every number: by as many rounds as reported, and by all of ours."""
        lines = []
        for study in self.studies:
            frame = self.results.compared[study.name]
            for row in frame[frame["ours_rounds"] > 0].to_dict("records"):
                digits = METRICS[row["metric"]].digits
                name = f"{row['arch']} {row['variant'] or row['setting']}".strip()
                theirs = row["mean"], row["std"], row["rounds"], digits
                first = row["first_ours"], row["first_std"], row["first_rounds"], digits
                ours = row["ours"], row["ours_std"], row["ours_rounds"], digits
                lines.append(
                    {
                        "place": row["table"],
                        "network": name,
                        "metric": METRICS[row["metric"]].label,
                        "reported": plus_minus(*theirs),
                        "kpairs": plus_minus(*first),
                        "difference, 95 %": span(row["first_low"], row["first_high"], digits),
                        "all our rounds": plus_minus(*ours),
                        "by all": row["verdict"].partition(" (")[0],
                    }
                )
        frame = pd.DataFrame(lines)
        alike = [n for n in ("place", "metric") if len(frame) and frame[n].nunique() == 1]
        return table(frame.drop(columns=alike)) if lines else Markup()

    def parameters(self) -> pd.DataFrame:
        """Return the stated counts of parameters beside those of our networks."""
        frame = self.rest[self.rest["metric"] == "parameters"]
        return frame.drop_duplicates(["arch", "mean"])

    def others(self) -> pd.DataFrame:
        """Count the numbers that no rounds are compared with, by place and reason."""
        frame = self.rest[self.rest["metric"] != "parameters"]
        groups = frame.groupby(["table", "metric", "verdict"], sort=False)
        return groups.size().rename("count").reset_index()

    def conclusions(self) -> pd.DataFrame:
        """Return the report's conclusions and our further comparisons, as `Results.conclusions`."""
        frame = self.results.conclusions
        return frame[(frame["report"] == self.key) & frame["effect"].notna()]

    def lines(self, panels: Mapping[str, Mapping[str, tuple[str, str, str]]], label: str) -> Markup:
        """Redraw a figure of the report: by panel and curve (study, setting, column)."""
        drawn: dict[str, dict[str, pd.DataFrame]] = {title: {} for title in panels}
        for title, curves in panels.items():
            for name, (study, setting, column) in curves.items():
                rows = self.results.rows(study, "curves")
                mine = rows[name_of(rows) == setting]
                if mine.empty:
                    return Markup()
                drawn[title][name] = mine.groupby("epoch")[column].agg(["mean", "std"])
        every = [each for curves in drawn.values() for each in curves.items()]
        ends = [f"{name} {epochs['mean'].iloc[-1]:.3g}" for name, epochs in every]
        words = f"{label} per epoch; at the end {', '.join(ends)}"
        caption = "Means over rounds; shades are one standard deviation."
        return self.picture("epochs", figures.lines(drawn, label), words, caption)

    def best(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return each model's best reported number of the first table, and those of the others."""
        first = frame["table"] == frame["table"].iloc[0]
        best = frame[first].groupby("model", sort=False)["mean"].idxmax()
        return pd.concat([frame.loc[best], frame[~first]])

    def progress(self, study: Study) -> dict[str, int]:
        """Return a study's least and most rounds of a setting, trainings and collapsed ones."""
        rows = self.results.rows(study.name)
        counts = rows.groupby(["arch", "setting"]).size()
        ends = {"least": counts.min(), "most": counts.max()} if len(rows) else {}
        return {"trainings": len(rows), "collapsed": int(rows["collapsed"].sum()), **ends}


class Overview(Page):
    """The page across all reports; it begins with the answer."""

    def __init__(self, results: Results) -> None:
        super().__init__("reports", "reports/page.md.j2", results)
        known = results.conclusions[results.conclusions["effect"].notna()]
        self.effects = {
            name: known[known["ingredient"] == name].set_index("report")["effect"].to_dict()
            for name in QUESTIONS
        }
        self.pooled = results.pooled()
        networks = effects.of_networks(results.paired)
        self.networks = networks[networks["ingredient"].isin(QUESTIONS)]

    def forest(self) -> Markup:
        """Draw the effects of each report, and over all."""
        groups = {}
        for name in self.pooled:
            mine = self.networks[self.networks["ingredient"] == name]
            rows = [
                (report_name(key), effect, list(mine.loc[mine["report"] == key, "mean"]))
                for key, effect in self.effects[name].items()
            ]
            groups[name.capitalize()] = [*rows, ("networks in general", self.pooled[name], [])]
        words = "test error with minus without, points: " + ", ".join(
            f"{name} {effect.mean:+.1f}" for name, effect in self.pooled.items()
        )
        caption = (
            "Left of 0 the test error falls. Lines are 95 % intervals, grey marks single networks."
        )
        return self.picture("effects", figures.forest(groups), words, caption)

    def reports(self) -> list[dict[str, Any]]:
        """Return each report's numbers, those as expected, the correlation, and the answers."""
        lines = []
        for key, frame in self.results.judged.groupby("report", sort=False):
            answers = self.results.conclusions.query("report == @key")["answer"].value_counts()
            main = ReportPage(str(key), self.results).main
            lines.append(
                {
                    "key": key,
                    "numbers": len(frame),
                    "expected": int((frame["as_expected"] == "yes").sum()),
                    "correlation": main["error"].corr(main["ours_error"]),
                    "answers": [int(answers.get(name, 0)) for name in effects.OUTCOMES],
                }
            )
        return lines

    def unexpected(self) -> pd.DataFrame:
        """Return the numbers whose interval excludes the reported one, each with a reason."""
        judged = self.results.judged
        kept = adjusted(judged["first_p_value"]) <= 0.05
        few = f"chance: one of {len(judged)} numbers"
        reasons = np.where(kept, "no chance", few)
        reason = judged["explanation"].where(judged["explanation"] != "", reasons)
        return shown(judged.assign(reason=reason)[judged["as_expected"] == "no"])


class MethodPage(Page):
    """The page of the method: what the verdicts mean, and what was done to trust them."""

    def __init__(self, results: Results) -> None:
        super().__init__("method", "studies/method.md.j2", results)

    def verdicts(self) -> pd.DataFrame:
        """Count the verdicts by all of our rounds, a row for each report and one of all."""
        judged = self.results.judged
        kinds = judged["verdict"].str.partition(" (")[0]
        counts = pd.crosstab(judged["report"].map(report_name), kinds)
        return pd.concat([counts, counts.sum().rename("all").to_frame().T]).reset_index(names="")

    def authors(self, sound: bool) -> pd.DataFrame:
        """Hold ours against the authors' own code, for numbers that differ by all rounds.

        A `DataFrame` of report, number, name, mean (ours minus theirs on the same rounds, in
        points), low and high (95 %), and too: True where that code differs from its report on the
        same side as ours. `sound` leaves out rounds in which either training collapsed.
        """
        judged = self.results.judged
        differing = shown(judged[judged["verdict"] == DIFFERS])
        keys, lines = ["arch", "setting", "metric", "variant", "round"], []
        for study in STUDIES.values():
            both = [self.results.rows(study.name, kind) for kind in ("", "authors")]
            mine, theirs = (measured(study, rows) for rows in both)
            values = mine.merge(theirs, on=keys, suffixes=("", "_theirs"))
            values = values[values["variant"] == ""]
            if sound:
                values = values[(values["collapsed"] == 0) & (values["collapsed_theirs"] == 0)]
            numbers = differing[
                (differing["report"] == study.report) & differing["table"].isin(study.tables)
            ]
            for row in numbers.itertuples():
                pairs = values[
                    (values["arch"] == row.arch)
                    & (values["setting"] == row.setting)
                    & (values["metric"] == row.metric)
                ]
                if len(pairs) < _FEWEST:
                    continue
                other = pairs["value_theirs"]
                apart = (pairs["value"] - other) / METRICS[str(row.metric)].unit
                known = other.mean(), other.std(), len(other)
                (beyond,) = judge(*known, row.mean, row.std, row.rounds, 0).itertuples()
                too = beyond.low > 0 if row.difference > 0 else beyond.high < 0
                lines.append(
                    (row.report, row.number, row.name, apart.mean(), *interval_of(apart), too)
                )
        names = ["report", "number", "name", "mean", "low", "high", "too"]
        return pd.DataFrame(lines, columns=names)

    def beyond(self, frame: pd.DataFrame) -> int:
        """Count the intervals that exclude 0."""
        return int(((frame["low"] > 0) | (frame["high"] < 0)).sum())

    def authors_figure(self, frame: pd.DataFrame) -> Markup:
        """Draw `authors`."""
        label = "kpairs minus the authors' code, points"
        words = f"{label}: {len(frame)} intervals, of which {self.beyond(frame)} exclude 0"
        caption = "A line across 0: the two codes are not told apart."
        return self.picture("authors", figures.intervals(frame, label), words, caption)

    def differing(self) -> pd.DataFrame:
        """Return the numbers that differ by all of our rounds, each with a reason."""
        judged = self.results.judged
        frame = judged[judged["verdict"] == DIFFERS]
        theirs = self.authors(sound=True).set_index(["report", "number"])["too"]
        keys = pd.MultiIndex.from_frame(frame[["report", "number"]])
        too = theirs.reindex(keys).fillna(False).to_numpy(bool)
        reasons = {
            "the authors' own code differs on our pairs too": too,
            "rounds of ours alone differ as much": frame["resampled_p_value"] > 0.05,
            f"chance: one of {len(judged)} numbers": frame["fdr_p_value"] > 0.05,
        }
        reason = np.select(list(reasons.values()), list(reasons), "unexplained")
        explained = frame["explanation"] != ""
        return shown(frame).assign(
            ours=frame["ours"], reason=frame["explanation"].where(explained, reason)
        )

    def same_start(self) -> pd.DataFrame:
        """Return trainings of ours and of the authors' code from the same first weights."""
        names = ["arch", "setting", "round"]
        mine, theirs = (self.results.rows("piguet-table-2", kind) for kind in ("", "same-start"))
        return mine.merge(theirs, on=names, suffixes=("", "_theirs"))

    def apart(self, pairs: pd.DataFrame) -> dict[str, float]:
        """Return the mean size of these differences, their mean, and its 95 % interval."""
        difference = pairs["test_error_pct"] - pairs["test_error_pct_theirs"]
        ends = dict(zip(("low", "high"), interval_of(difference), strict=True))
        return {"size": difference.abs().mean(), "mean": difference.mean(), **ends}

    def same_start_figure(self, pairs: pd.DataFrame) -> Markup:
        """Draw `same_start`."""
        ours = pairs["test_error_pct"].rename("kpairs")
        theirs = pairs["test_error_pct_theirs"].rename("authors' code")
        figure = figures.one_to_one(theirs, ours, "test error (%)")
        words = f"test error of {len(pairs)} trainings by the authors' code and by kpairs"
        caption = "A dot is one training. Those near 45 % collapsed."
        return self.picture("same-start", figure, words, caption)


def _short(value: float, metric: str) -> str:
    """Return a number with about three digits."""
    fine = METRICS[metric].digits > 2 or abs(value) < 10
    return f"{value:.{METRICS[metric].digits if fine else 1}f}"
