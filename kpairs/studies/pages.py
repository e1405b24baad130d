"""A page per report, one across them, and those of our own: Markdown and self-contained HTML.

The words stand in templates: `page.md.j2` in each report's folder, or `report.md.j2` here where a
report has none. What a page shows is said there, by the methods of `ReportPage`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from kpairs.files import write_text
from kpairs.markdown import code, environment, escape, table, to_html
from kpairs.numbers import plus_minus, span, summary
from kpairs.plots import svg
from kpairs.reports import FOLDERS, REPORTS
from kpairs.studies import compare, figures
from kpairs.studies.catalogue import STUDIES
from kpairs.studies.results import Results, page_module, report_name, write_results
from kpairs.studies.rows import name_of

# What figures of a kind say, below each of them.
_SIDE_BY_SIDE = (
    "The closer the two dots of a row, the better a number came out again. Lines reach one "
    "standard deviation to each side; a dot of kpairs without one is a single training."
)
_ONE_EACH = (
    "A dot per size of the network. On the dashed line ours is what was reported, below it less. "
    "The longer its line, the reported standard deviation, the less the reported number says."
)
_CURVES = (
    "Look where the curves end. Shades are one standard deviation of single trainings: that they "
    "overlap does not make the means alike. In brackets: how many trainings a curve is the mean of."
)
_LOSSES = (
    "Where the training loss goes on falling and the test loss does not, pairs are being learned "
    "by heart."
)
_SCAN = (
    "The lowest dot is the best of the values tried. Lines are one standard deviation of single "
    "trainings: that they overlap does not make the means alike. A dot without one is a single "
    "training."
)
_EFFECTS = (
    "Left of 0 an ingredient lowers the test error; a line (95 % interval) across 0 leaves it "
    "open, and one that ends in an arrow goes on. Grey marks are single networks, whose number "
    "stands behind the name."
)


@dataclass
class Page:
    """A page to be: a template, what it speaks of, and the figures that it has asked for.

    Attributes:
        name: of the page's files, without their endings.
        template: its place in the package.
        context: names that the template knows, beside `page`, the page itself.
        drawn: matplotlib figures by their key.
    """

    name: str
    template: str
    context: dict[str, Any] = field(default_factory=dict)
    drawn: dict[str, Figure] = field(default_factory=dict)

    def picture(self, key: str, figure: Figure, words: str, caption: str) -> Markup:
        """Show a figure.

        Args:
            key: of its file's name.
            figure: drawn by matplotlib.
            words: what it shows, for those who do not see it.
            caption: what to see in it, below.

        Returns:
            Markdown.
        """
        self.drawn[key] = figure
        image = f"![{escape(words)}](figures/{self.name}-{key}.svg)"
        return Markup(f"{image}\n\n*{escape(caption)}*\n")

    def markdown(self) -> str:
        """Fill the template in; names are shown as they are, dollars and all."""
        templates = environment("kpairs")
        templates.globals |= {"report_name": report_name, "METRICS": compare.METRICS}
        templates.globals["words"] = templates.get_template("studies/words.md.j2").module
        with matplotlib.rc_context({"text.parse_math": False}):
            text = templates.get_template(self.template).render(page=self, **self.context)
        return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"

    def write(self, out: Path) -> list[Path]:
        """Write the page as Markdown and as HTML that needs no other file, and its figures."""
        text = self.markdown()
        svgs = {f"figures/{self.name}-{key}.svg": svg(f) for key, f in self.drawn.items()}
        contents = {**svgs, f"{self.name}.md": text, f"{self.name}.html": to_html(text, svgs)}
        (out / "figures").mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_text(out / name, content)
        return [out / name for name in contents]


def write_pages(
    rows_folder: str | Path, out: str | Path, reports: Iterable[str] | None = None
) -> list[Path]:
    """Write the pages of reports from their studies' rows, and every number into `results.csv`.

    Args:
        rows_folder: of the CSVs that `kpairs study` leaves.
        out: folder of the pages; figures go into `figures/` in it.
        reports: keys of `REPORTS`; default all, the page across them and those of our own.

    Returns:
        The files written.

    Raises:
        InputError: a CSV that cannot be read.
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
    if reports is None:
        pages.append(AcrossPage(results))
    files = [file for page in pages for file in page.write(out)]
    write_results(results, out / "results.csv")
    return [*files, out / "results.csv"]


_TOGETHER = (
    "Taken together, ours minus reported, the mean over settings in the rounds that all of them "
    "have, and its 95 % interval (a round's pairs are the same for all settings, and so is their "
    "luck, which the interval allows for): {}.\n\n"
)


class ReportPage(Page):
    """The page of one report.

    Attributes:
        report, studies: of the report, for its template.
    """

    def __init__(self, key: str, results: Results) -> None:
        report = REPORTS[key]
        own = f"reports/{key}/page.md.j2"
        known = own in environment("kpairs").list_templates()
        super().__init__(f"{report.number}-{key}", own if known else "studies/report.md.j2")
        self.key, self.report, self.results = key, report, results
        self.studies = [s for s in STUDIES.values() if s.report == key]

    @property
    def numbers(self) -> pd.DataFrame:
        """Every number of the report, as `Results.numbers`."""
        return self.results.numbers[self.results.numbers["report"] == self.key]

    @property
    def folds(self) -> bool:
        """The presence of a cross-validation among its studies."""
        return any(setting.folds for study in self.studies for setting in study.settings)

    def agreement(self) -> dict[str, int]:
        """Count the numbers of each verdict."""
        return self.results.agreement(self.numbers)

    def differing(self) -> pd.DataFrame:
        """Return the numbers that differ."""
        return self.results.differing(self.numbers)

    def machines(self) -> list[str]:
        """Return the machines of the trainings."""
        rows = pd.concat([self.results.rows(s.name) for s in self.studies])
        return machines(rows)

    def compared(self, study: str) -> Markup:
        """Return the table of a study's reported numbers beside ours, and their mean difference."""
        frame = self.results.compared[study]
        said = []
        values = compare.measured(STUDIES[study], self.results.rows(study))
        for row in compare.together(frame, values).itertuples():
            metric = compare.METRICS[str(row.metric)]
            mean, median = (f"{value:+.{metric.digits}f}" for value in (row.mean, row.median))
            ends = span(row.low, row.high, metric.digits)
            counts = f"{row.settings} settings, {row.rounds} rounds"
            said.append(f"{metric.label} {mean} ({ends}; median {median}; {counts})")
        sentence = _TOGETHER.format("; ".join(said)) if said and STUDIES[study].judged else ""
        return Markup(sentence) + compared_table(frame)

    def best(self, study: str, metric: str) -> Markup:
        """Return the table of each architecture's best size, the report's and ours."""
        frame = self.results.compared[study]
        frame = frame[(frame["metric"] == metric) & (frame["ours_rounds"] > 0)]
        lines = []
        for arch, rows in frame.groupby("arch", sort=False):
            theirs, ours = (rows.loc[rows[column].idxmax()] for column in ("mean", "ours"))
            lines.append(
                {
                    "network": code(arch),
                    "best reported": theirs["setting"].split()[-1],
                    "reported": f"{theirs['mean']:.2f}",
                    "kpairs there": f"{theirs['ours']:.2f}",
                    "best by kpairs": ours["setting"].split()[-1],
                    "kpairs": f"{ours['ours']:.2f}",
                    "reported there": f"{ours['mean']:.2f}",
                }
            )
        if not lines:
            return Markup()
        alike = frame["mean"].corr(frame["ours"])
        words = (
            f"{compare.METRICS[metric].label.capitalize()} of each network's best size, by the "
            f"report and by kpairs; over all {len(frame)} sizes the two correlate by {alike:.2f}."
        )
        return Markup(words) + Markup("\n\n") + table(pd.DataFrame(lines)) + Markup("\n")

    def own(self, study: str) -> Markup:
        """Return the table of our errors in a study without reported numbers."""
        groups = self.results.rows(study).groupby(["arch", "setting"], sort=False)
        errors, collapsed = groups["test_error_pct"], groups["collapsed"].sum()
        digits = groups["test_digit_error_pct"].mean()
        frame = pd.DataFrame({"test error (%)": errors.agg(lambda each: summary(list(each)))})
        frame["digit error (%)"] = ["" if pd.isna(mean) else f"{mean:.1f}" for mean in digits]
        frame["collapsed"] = _collapsed(collapsed, errors.median(), [2] * len(frame))
        frame = frame.reset_index()
        frame["arch"] = frame["arch"].map(code)
        return table(frame.rename(columns={"arch": "architecture"})) if len(frame) else Markup()

    def dots(self, study: str) -> Markup:
        """Draw a figure per metric of a study: reported and our means side by side."""
        frame = self.results.compared[study]
        frame = frame[frame["ours_rounds"] > 0]
        shown = []
        for metric, rows in frame.groupby("metric", sort=False):
            label = compare.METRICS[metric].label
            key = f"{study.split('-', 1)[1]}-{metric.replace('_', '-')}"
            many = len(rows) > figures.MOST
            figure = figures.agreement(rows, label) if many else figures.dots(rows, label)
            reported, ours = (_reach(rows[name]) for name in ("mean", "ours"))
            words = f"{label} of {len(rows)} settings: reported {reported}, by kpairs {ours}"
            shown.append(self.picture(key, figure, words, _ONE_EACH if many else _SIDE_BY_SIDE))
        return Markup("\n").join(shown)

    def curves(self, study: str, panels: Mapping[str, Sequence[str]], key: str) -> Markup:
        """Draw the test error per epoch, a panel for each title with its settings."""
        rows = self.results.rows(study, "curves")
        if not len(rows):
            return Markup()
        known = set(name_of(rows))
        panels = {title: [n for n in names if n in known] for title, names in panels.items()}
        panels = {title: names for title, names in panels.items() if names}
        if not panels:
            return Markup()
        figure = figures.curves(rows, panels, "test_error_pct", "test error (%)")
        last = rows[rows["epoch"] == rows["epoch"].max()]
        means = last.groupby(name_of(last))["test_error_pct"].mean()
        ends = [f"{name} {means[name]:.1f}" for name in chain(*panels.values()) if name in means]
        words = f"test error (%) per epoch; at the end {', '.join(ends)}"
        return self.picture(key, figure, words, _CURVES)

    def losses(self, study: str, setting: str, key: str) -> Markup:
        """Draw the losses per epoch of one setting."""
        rows = self.results.rows(study, "curves")
        if setting not in set(name_of(rows)):
            return Markup()
        words = f"comparison and digit loss of {setting} per epoch, training and test"
        return self.picture(key, figures.losses(rows, setting), words, _LOSSES)

    def scan(self, study: str, values: Mapping[str, float], label: str, key: str) -> Markup:
        """Draw the error over a number that settings vary; nothing for a single number."""
        rows = self.results.rows(study)
        means = rows.groupby(name_of(rows).map(values))["test_error_pct"].mean()
        if len(means) < 2:
            return Markup()
        axis = "validation error (%)" if (rows["folds"] > 0).any() else "test error (%)"
        words = f"{axis} by {label}: least, {means.min():.1f}, at {means.idxmin():g}"
        figure = figures.scan(rows, values, label, axis)
        return self.picture(key, figure, words, _SCAN)

    def conclusions(self) -> pd.DataFrame:
        """Return the report's conclusions, as `Results.conclusions`."""
        frame = self.results.conclusions
        return frame[frame["report"] == self.key]

    def rest(self) -> pd.DataFrame:
        """Return the reported numbers that no rounds are compared with."""
        return self.numbers[self.numbers["margin"].isna()]


class AcrossPage(Page):
    """The page across all reports; it begins with the answer."""

    def __init__(self, results: Results) -> None:
        super().__init__("reports", "reports/page.md.j2", {"results": results})
        self.results = results

    def effects(self) -> Markup:
        """Draw the effects of all ingredients."""
        found = self.results.findings
        each = [f"{f.name} {f.overall.mean:+.1f}" for f in found]
        words = f"test error with an ingredient minus without, points: {', '.join(each)}"
        return self.picture("effects", figures.effects(found), words, _EFFECTS)

    def parameters(self) -> Markup:
        """Draw the errors against parameters."""
        return against_parameters(self, "error-against-parameters", self.results.points)


def against_parameters(page: Page, key: str, points: pd.DataFrame) -> Markup:
    """Show on a page the figure of errors against parameters.

    Args:
        page: to show it on.
        key: of the figure.
        points: as `kpairs.studies.figures.against_parameters` takes them.
    """
    best = points.loc[points["error"].idxmin()]
    words = (
        f"test error against trainable parameters of {len(points)} networks; "
        f"least {best['arch']}, {best['error']:.2f} % with {best['parameters']:,} parameters"
    )
    caption = "Lower is better, further left is smaller. Both axes are logarithmic."
    return page.picture(key, figures.against_parameters(points), words, caption)


def machines(rows: pd.DataFrame) -> list[str]:
    """Return the machines of trainings, each once."""
    known = zip(rows["keras"], rows["backend"], rows["hardware"], strict=True)
    return sorted({f"keras {keras} on {backend}, {machine}" for keras, backend, machine in known})


def compared_table(frame: pd.DataFrame) -> Markup:
    """Return a table of reported numbers beside ours.

    Args:
        frame: as `kpairs.studies.compare.beside` gives it.
    """
    metrics = [compare.METRICS[name] for name in frame["metric"]]
    digits = [metric.digits for metric in metrics]

    def means(mean: str, std: str, count: str) -> list[str]:
        numbers = zip(frame[mean], frame[std], frame[count], digits, strict=True)
        return ["" if pd.isna(n[0]) else plus_minus(*n) for n in numbers]

    ends = zip(frame["low"], frame["high"], digits, strict=True)
    labels = [metric.label for metric in metrics]
    settings = frame["variant"].where(frame["variant"] != "", frame["setting"])
    names = [f"{code(a)} {escape(s)}".strip() for a, s in zip(frame["arch"], settings, strict=True)]
    cells = pd.DataFrame(
        {
            "network": [Markup(name) for name in names],
            "verdict": frame["verdict"],
            "metric": labels,
            "reported": means("mean", "std", "rounds"),
            "kpairs": means("ours", "ours_std", "ours_rounds"),
            "difference, 95 %": [span(*each) for each in ends],
            "margin": [f"{m:.{n}f}" for m, n in zip(frame["margin"], digits, strict=True)],
            "collapsed": _collapsed(frame["collapsed"], frame["ours_median"], digits),
            "note": frame["note"],
        }
    )
    alike = [
        n for n in ("metric", "margin", "note") if cells[n].nunique() == 1 and cells[n].iloc[0]
    ]
    said = "; ".join(f"{name} {escape(cells[name].iloc[0])}" for name in alike)
    more = Markup(f"\nIn every row: {said}.\n") if alike else Markup()
    return table(cells.drop(columns=alike)) + more


def _reach(values: pd.Series) -> str:
    return f"{values.min():.4g} to {values.max():.4g}"


def _collapsed(
    counts: Iterable[float], medians: Iterable[float], digits: Iterable[int]
) -> list[str]:
    """Return counts of trainings with one answer for all pairs, each with the median."""
    numbers = zip(counts, medians, digits, strict=True)
    return [f"{c:.0f}; median {m:.{n}f}" if c else "" for c, m, n in numbers]
