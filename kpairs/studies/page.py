"""A page to be: a template, filled in from the rows, as Markdown and as HTML."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from kpairs.files import write_text
from kpairs.markdown import code, environment, escape, table, to_html
from kpairs.numbers import interval, summary
from kpairs.plots import svg
from kpairs.reports import REPORTS
from kpairs.studies.catalogue import declared
from kpairs.studies.compare import METRICS
from kpairs.studies.results import Results, report_name


@dataclass
class Page:
    """A page to be: a template, what it speaks of, and the figures that it has asked for."""

    name: str  # of the page's files, without their endings
    template: str  # its place in the package
    results: Results
    drawn: dict[str, Figure] = field(default_factory=dict)  # matplotlib figures by their key

    def picture(self, key: str, figure: Figure, words: str, caption: str) -> Markup:
        """Show a figure by its key, with its content in `words` for those who do not see it."""
        self.drawn[key] = figure
        image = f"![{escape(words)}](figures/{self.name}-{key}.svg)"
        return Markup(f"{image}\n\n*{escape(caption)}*\n")

    def settings(self, study: str, columns: Mapping[str, str]) -> Markup:
        """Return the table of a study's settings: mean ± deviation of columns, by heading."""
        groups = self.results.rows(study).groupby(["arch", "setting"], sort=False)
        lines = []
        for (arch, setting), rows in groups:
            line = {"network": Markup(f"{code(arch)} {escape(setting)}".strip())}
            for heading, name in columns.items():
                known = list(rows[name].dropna())
                line[heading] = Markup(summary(known)) if known else Markup()
            collapsed = int(rows["collapsed"].sum())
            lines.append(line | {"collapsed": escape(collapsed) if collapsed else Markup()})
        return table(pd.DataFrame(lines)) if lines else Markup("Not run yet.\n")

    def markdown(self) -> str:
        """Fill the template in; names are shown as they are, dollars and all."""
        templates = environment("kpairs")
        templates.globals |= {"report_name": report_name, "METRICS": METRICS, "REPORTS": REPORTS}
        templates.globals["words"] = templates.get_template("studies/words.md.j2").module
        with matplotlib.rc_context({"text.parse_math": False}):
            text = templates.get_template(self.template).render(page=self, results=self.results)
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


def shown(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return judged numbers with names and intervals, as `kpairs.studies.figures.numbers` has them.

    Further columns: label (of the setting), metric_label, and the errors in percent, error
    and ours_error. Ours are those of as many rounds as the report has.
    """
    labels: Mapping[str, Mapping[str, str]] = declared("LABELS")
    settings = numbers[["report", "setting"]].itertuples(index=False, name=None)
    label = pd.Series([labels.get(r, {}).get(s, s) for r, s in settings], numbers.index, dtype=str)
    metrics = [METRICS[name] for name in numbers["metric"]]
    name = (numbers["model"] + " " + label).str.strip()
    metric_label = pd.Series([m.label for m in metrics], numbers.index, dtype=str)
    frame = numbers.assign(ours=numbers["first_ours"], label=label, metric_label=metric_label)
    frame["name"] = name
    for half, std, count in (("half", "std", "rounds"), ("ours_half", "first_std", "first_rounds")):
        error = numbers[std] / numbers[count] ** 0.5
        frame[half] = interval(0.0, error, numbers[count] - 1)[1]
    for column, error in (("mean", "error"), ("ours", "ours_error")):
        values = zip(metrics, frame[column], strict=True)
        frame[error] = [metric.error(value) for metric, value in values]
    return frame
