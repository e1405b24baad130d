"""What the page of our own architecture shows: numbers for `page.md.j2`."""

from collections.abc import Mapping

import pandas as pd
from markupsafe import Markup
from scipy import stats

from kpairs.markdown import code, table
from kpairs.models.diagram import layer_rows
from kpairs.networks import build
from kpairs.numbers import plus_minus, span, summary
from kpairs.ours import figures
from kpairs.ours.studies import ABLATION, FINAL, HEAD, REPORT, SCALING, SELECTION, STUDIES
from kpairs.recipes import Ingredient
from kpairs.reports import RECIPES
from kpairs.studies.effects import differences, of_networks
from kpairs.studies.figures import against_parameters
from kpairs.studies.pages import Page
from kpairs.studies.results import Results, parameters
from kpairs.studies.rows import name_of

TARGETS = {"posterior": 0.9, "posterior_s": 1.6}  # percent, set before the first training
# The networks of the head study with their own head, in the studies of their reports.
_OWN_HEADS = {
    "auxws": ("haidinger-plain", "auxws not augmented"),
    "wsal_bd": ("chassagne-table", "wsal_bd lr=1"),
    "a_w_net": ("kong-table-3", "a_w_net"),
    "auxnet2": ("altunina-best", "auxnet2"),
}
_SHOWN = 24  # wrong pairs in the picture


def pages(results: Results) -> list[Page]:
    """The page of our own architecture."""
    return [OwnPage(results)]


class OwnPage(Page):
    """The page of our own architecture; its methods give tables and figures, empty of no rows."""

    def __init__(self, results: Results):
        super().__init__("posterior", "ours/page.md.j2")
        self.results, self.studies = results, STUDIES
        self.pass_counts = [
            (s.recipe.epochs, s.recipe.pairs)
            for s in SCALING.settings
            if s.recipe.arch == "posterior"
        ]

    def layers(self) -> Markup:
        """The table of the network's layers."""
        rows = pd.DataFrame(layer_rows(build("posterior")))
        shapes = [" x ".join(map(str, shape)) for shape in rows["shape"]]
        columns = {"layer": rows["type"], "": rows["details"], "output": shapes}
        return table(pd.DataFrame({**columns, "parameters": rows["parameters"].map("{:,}".format)}))

    def result(self) -> Markup:
        """The table of the final rounds."""
        lines = []
        for name, rows in self._groups(FINAL.name):
            errors = rows["test_error_pct"]
            low, high = (
                stats.ttest_1samp(errors, 0).confidence_interval()
                if len(errors) > 1
                else ((float("nan"),) * 2)
            )
            lines.append(
                {
                    "architecture": code(name),
                    "parameters": f"{parameters(RECIPES[name]):,}",
                    "test error (%)": summary(errors),
                    "95 % of the mean": f"{low:.2f} to {high:.2f}",
                    "digit error (%)": summary(rows["test_digit_error_pct"]),
                    "target": f"{TARGETS[name]}: {_verdict(errors.mean(), high, TARGETS[name])}",
                    "seconds a round": f"{rows['seconds'].median():.0f}",
                }
            )
        return table(pd.DataFrame(lines))

    def rounds(self) -> Mapping[str, list[str]]:
        """The error of each final round, by architecture."""
        return {
            name: [f"{error:g}" for error in rows.sort_values("round")["test_error_pct"]]
            for name, rows in self._groups(FINAL.name)
        }

    def sizes(self) -> Markup:
        """The figure of errors against parameters, the reports' networks and ours."""
        points = self.results.points
        if "kpairs" not in set(points["group"]):
            return Markup()
        figure = against_parameters(points)
        return self.picture("parameters", figure, "test error against parameters")

    def selection(self) -> Markup:
        """The table of what was tried in cross-validation."""
        last = _last_epochs(self.results.rows(SELECTION.name, "curves"))
        lines = []
        for name, rows in self._groups(SELECTION.name):
            setting = next(s for s in SELECTION.settings if s.name == name)
            line = {
                "tried": setting.setting,
                "parameters": f"{parameters(setting.recipe):,}",
                "validation error (%)": summary(rows["test_error_pct"]),
                "digit error (%)": summary(rows["test_digit_error_pct"]),
            }
            for loss in ("comparison", "digit"):
                values = last.loc[name_of(last) == name, f"test_{loss}_loss"] if len(last) else ()
                line[f"{loss} loss"] = summary(values, 3) if len(values) else ""
            lines.append(line)
        return table(pd.DataFrame(lines))

    def first_choice(self) -> list[str]:
        """Of the first six tries, that with the least comparison and that with the least digit
        loss on the first fold."""
        last = _last_epochs(self.results.rows(SELECTION.name, "curves"))
        if not len(last):
            return []
        tried = [setting.setting for setting in SELECTION.settings[:6]]
        first = last[(last["round"] == 1) & last["setting"].isin(tried)].set_index("setting")
        return [first[f"test_{loss}_loss"].idxmin() for loss in ("comparison", "digit")]

    def ablation(self) -> Markup:
        """The figure and the table of what each part brings."""
        whole = self.results.rows(FINAL.name)
        plain = _last_epochs(self.results.rows(FINAL.name, "curves"))
        plain = plain[plain["arch"] == "posterior"].assign(setting="weights not averaged")
        names = ["weights not averaged", *(s.setting for s in ABLATION.settings)]
        frame = _paired(
            [whole, plain, self.results.rows(ABLATION.name)],
            {name: ("posterior", f"posterior {name}") for name in names},
        )
        if not len(frame):
            return Markup()
        label = "test error minus that of the whole recipe, points (95 % interval)"
        figure = figures.difference_dots(frame.index, frame, label)
        columns = {"changed": frame.index, "test error (%)": frame["with"], **_difference(frame)}
        picture = self.picture("ablation", figure, "what each part brings")
        return picture + "\n" + table(pd.DataFrame(columns))

    def heads(self) -> Markup:
        """The table of the exact head on the reports' networks."""
        studies = [HEAD.name, *(study for study, _ in _OWN_HEADS.values())]
        frame = _paired(
            [self.results.rows(name) for name in studies],
            {arch: (own, f"{arch} exact head") for arch, (_, own) in _OWN_HEADS.items()},
        )
        exact = {s.recipe.arch: s.recipe for s in HEAD.settings}
        columns = {
            "architecture": frame.index.map(code),
            "parameters": [f"{parameters(RECIPES[arch]):,}" for arch in frame.index],
            "with the exact head": [f"{parameters(exact[arch]):,}" for arch in frame.index],
            "own head: test error (%)": frame["without"],
            "exact head": frame["with"],
            **_difference(frame),
        }
        return table(pd.DataFrame(columns))

    def scaling(self) -> Markup:
        """The figure and the table of errors over the number of training pairs."""
        pairs = {s.name: s.recipe.pairs for s in SCALING.settings}
        rows = self.results.rows(SCALING.name)
        if not len(rows):
            return Markup()
        groups = rows.assign(pairs=name_of(rows).map(pairs)).groupby(["arch", "pairs"], sort=False)
        frame = groups["test_error_pct"].agg(["mean", "std", "count"]).reset_index()
        cells = [plus_minus(*n, 2) for n in frame[["mean", "std", "count"]].itertuples(index=False)]
        wide = frame.assign(cell=cells).pivot(index="arch", columns="pairs", values="cell")
        wide.columns = [f"{count:,}" for count in wide.columns]
        wide.insert(0, "architecture", wide.index.map(code))
        figure = figures.scaling_lines(frame.sort_values("pairs"))
        picture = self.picture("scaling", figure, "test error over the number of training pairs")
        return picture + "\n" + table(wide.fillna("not run"))

    def wrong(self) -> pd.DataFrame:
        """The wrongly ordered test pairs of the final rounds, the surest first."""
        rows = self.results.rows(FINAL.name, "wrong")
        return rows.sort_values("probability", ascending=False) if len(rows) else rows

    def misread(self) -> int:
        """How many of them have a digit that was taken for another."""
        rows = self.wrong()
        sides = [rows[f"{side}_seen"] != rows[f"{side}_digit"] for side in ("left", "right")]
        return int((sides[0] | sides[1]).sum())

    def wrong_pairs(self) -> Markup:
        """The figure of the surest mistakes."""
        figure = figures.wrong_sheet(self.wrong()[:_SHOWN])
        return self.picture("wrong-pairs", figure, "pairs that are ordered wrongly")

    def _groups(self, study):
        rows = self.results.rows(study)
        return rows.groupby(name_of(rows), sort=False)


def _verdict(mean, high, target):
    if mean > target:
        return "not reached"
    return "reached" if high <= target else "reached by the mean, not by the whole interval"


def _last_epochs(curves):
    """The last row of each round's curve."""
    return curves.groupby(["arch", "setting", "round"], as_index=False, sort=False).last()


def _paired(parts, pairs):
    """Differences on the same rounds, by name; pairs: name to settings without and with."""
    ingredients = [Ingredient(name, [pair]) for name, pair in pairs.items()]
    paired = differences({REPORT: pd.concat(parts)}, {REPORT: ingredients})
    frame = of_networks(paired, ["ingredient"]).set_index("ingredient")
    groups = paired.groupby("ingredient")
    for side in ("without", "with"):
        frame[side] = groups[f"error_{side}"].agg(summary)
    return frame


def _difference(frame):
    return {
        "difference": frame["mean"].map("{:+.2f}".format),
        "95 % interval": [span(*ends) for ends in zip(frame["low"], frame["high"], strict=True)],
    }
