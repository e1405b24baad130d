"""Numbers of the page of our own architecture, for `page.md.j2`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from kpairs.markdown import code, table
from kpairs.networks import parameters_of
from kpairs.numbers import interval_of, plus_minus, summary
from kpairs.ours import figures
from kpairs.ours.studies import ABLATION, FINAL, HEAD, LONG_FINAL, REPORT, SCALING, STUDIES, TIME
from kpairs.recipes import Ingredient, Study
from kpairs.reports import RECIPES
from kpairs.studies.effects import differences, of_networks
from kpairs.studies.figures import against_parameters
from kpairs.studies.page import Page
from kpairs.studies.results import Results
from kpairs.studies.rows import name_of, read_rows

# The networks of the head study with their own head, in the studies of their reports.
_OWN_HEADS = {
    "auxws": ("haidinger-plain", "auxws not augmented"),
    "wsal_bd": ("chassagne-table", "wsal_bd lr=1"),
    "a_w_net": ("kong-table-3", "a_w_net"),
    "auxnet2": ("altunina-best", "auxnet2"),
}
_RIVALS = ("posterior", "posterior_s", "wsal_bd", "auxws", "final_model", "auxnet2")
_AIMS = {"posterior": 0.6, "posterior_s": 0.85}  # percent, set before the first long training
_SHOWN = 24  # wrong pairs in the picture
_ALL_PAIRS = ["all_pairs_error_pct", "unshifted_error_pct"]  # columns of our own studies' rows


def pages(results: Results) -> list[Page]:
    """Return the page of our own architecture."""
    return [OwnPage(results)]


class OwnPage(Page):
    """The page of our own architecture; its methods give tables and figures, empty of no rows."""

    def __init__(self, results: Results) -> None:
        super().__init__("posterior", "ours/page.md.j2", results)
        self.studies = {study.name: study for study in STUDIES}

    def rows(self, study: Study) -> pd.DataFrame:
        """Return a study's rows, with the columns of all pairs even where there are no rows."""
        rows = self.results.rows(study.name)
        return rows.reindex(columns=rows.columns.union(_ALL_PAIRS, sort=False))

    def result(self) -> dict[str, dict[str, Any]]:
        """Return by name the final rounds of our networks, and the best report's, run again."""
        final, long = self.rows(FINAL), self.rows(LONG_FINAL)
        timed = pd.concat([final, long, self.rows(TIME)])
        rivals = self.results.rows("chassagne-table")
        lines = {}
        for name, rows, epochs in (
            ("posterior", final[final["arch"] == "posterior"], 80),
            ("posterior_long", long[long["arch"] == "posterior"], 320),
            ("posterior_s", final[final["arch"] == "posterior_s"], 80),
            ("wsal_bd", rivals[rivals["arch"] == "wsal_bd"], None),
        ):
            rows = rows if epochs is None else rows[rows["epochs"] == epochs]
            if len(rows) < 2:
                continue
            drawn = rows["test_error_pct"]
            alike, of_all = (
                each[(each["arch"] == rows["arch"].iloc[0]) & (each["epochs"] == epochs)]
                for each in (timed, long)
            )
            column = "all_pairs_error_pct" if name == "posterior_long" else "unshifted_error_pct"
            lines[name] = {
                "parameters": parameters_of(RECIPES[name]),
                "rounds": len(drawn),
                "mean": drawn.mean(),
                "ends": interval_of(drawn),
                "all": of_all[column].mean() if len(of_all) else np.nan,
                "seconds": alike["seconds"].min(),
            }
        return lines

    def aims(self) -> list[tuple[str, float, bool]]:
        """Return what was aimed at with 320 epochs (error of all pairs), and if it was reached."""
        rows = self.rows(LONG_FINAL)
        means = rows[rows["epochs"] == 320].groupby("arch")["all_pairs_error_pct"].mean()
        return [(name, aim, means[name] <= aim) for name, aim in _AIMS.items() if name in means]

    def sizes(self) -> Markup:
        """Draw the errors against parameters, the reports' networks and ours."""
        points = self.results.points
        best = points.loc[points["error"].idxmin()]
        words = (
            f"test error against trainable parameters of {len(points)} networks; "
            f"least {best['arch']}, {best['error']:.2f} % with {best['parameters']:,} parameters"
        )
        figure = against_parameters(points, _RIVALS)
        caption = "Lower is better, further left is smaller. Every network was trained here."
        return self.picture("parameters", figure, words, caption)

    def tried(self) -> pd.DataFrame:
        """Return the trials of `docs/experiments/posterior_tried.py`, each against its machine's.

        A `DataFrame` of setting, mean (difference on the same rounds and machine: on another,
        rounding makes another training of a round) and rounds.
        """
        file = self.results.folder / "posterior-tried.csv"
        if not file.exists():
            return pd.DataFrame(columns=["setting", "mean", "rounds"])
        rows = read_rows(file, ["setting", "hardware", "round", "five_shifts_error_pct"])
        lines = []
        for _, mine in rows.groupby("hardware", sort=False):
            errors = mine.pivot(index="round", columns="setting", values="five_shifts_error_pct")
            names = list(mine["setting"].unique())
            less = errors.sub(errors[names[0]], axis=0)
            lines += [(n, less[n].mean(), less[n].count()) for n in names[1:]]
        return pd.DataFrame(lines, columns=["setting", "mean", "rounds"])

    def ablation(self) -> pd.DataFrame:
        """Return the effect of each part over all pairs, the least first: see `_paired`."""
        final = self.rows(LONG_FINAL)
        whole = final[(final["arch"] == "posterior") & (final["epochs"] == 80)]
        alone = whole.assign(setting="no shifts", all_pairs_error_pct=whole["unshifted_error_pct"])
        rows = pd.concat([whole.assign(setting="whole"), alone, self.rows(ABLATION)])
        names = ["no shifts", *(s.setting for s in ABLATION.settings)]
        pairs = {name: ("posterior whole", f"posterior {name}") for name in names}
        rows = rows.assign(test_error_pct=rows["all_pairs_error_pct"]) if len(rows) else rows
        return _paired(rows, pairs).sort_values("mean")

    def heads(self) -> pd.DataFrame:
        """Return the effect of the exact head on the reports' networks: see `_paired`."""
        studies = [HEAD.name, *(study for study, _ in _OWN_HEADS.values())]
        frame = _paired(
            pd.concat([self.results.rows(name) for name in studies]),
            {arch: (own, f"{arch} exact head") for arch, (_, own) in _OWN_HEADS.items()},
        )
        exact = {s.recipe.network.arch: parameters_of(s.recipe) for s in HEAD.settings}
        own = {arch: parameters_of(RECIPES[arch]) for arch in exact}
        return frame.assign(own=frame["name"].map(own), exact=frame["name"].map(exact))

    def scaling(self) -> Markup:
        """Draw the errors over the number of training pairs, with their table."""
        pairs = {s.name: s.recipe.data.pairs for s in SCALING.settings}
        rows = self.results.rows(SCALING.name)
        groups = rows.assign(pairs=name_of(rows).map(pairs)).groupby(["arch", "pairs"], sort=False)
        frame = groups["test_error_pct"].agg(["mean", "std", "count"]).reset_index()
        if not len(frame):
            return Markup()
        caption = "Lines are one standard deviation of single trainings; both axes are logarithmic."
        words = "test error over the number of training pairs; the table below has the numbers"
        figure = figures.scaling_lines(frame.sort_values("pairs"))
        spreads = frame[["mean", "std"]].to_numpy()
        frame["text"] = [plus_minus(mean, std, None, 2) for mean, std in spreads]
        wide = frame.pivot(index="arch", columns="pairs", values="text").fillna("not run")
        wide.columns = [f"{count:,}" for count in wide.columns]
        wide.insert(0, "pairs", wide.index.map(code))
        return self.picture("scaling", figure, words, caption) + "\n" + table(wide)

    def wrong(self) -> pd.DataFrame:
        """Return the wrongly ordered test pairs of the final rounds, the surest first."""
        rows = self.results.rows(FINAL.name, "wrong")
        return rows.sort_values("probability", ascending=False) if len(rows) else rows

    def wrong_pairs(self) -> Markup:
        """Draw the surest mistakes."""
        shown = self.wrong()[:_SHOWN]
        truth = zip(shown["left_digit"], shown["right_digit"], strict=True)
        words = f"pairs that are ordered wrongly: {', '.join(f'{a} and {b}' for a, b in truth)}"
        caption = "Above each pair the true digits, and those that the network saw."
        return self.picture("wrong-pairs", figures.wrong_sheet(shown), words, caption)


def _paired(rows: pd.DataFrame, pairs: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """Return each name's differences on the same rounds, of settings without and with.

    A `DataFrame` of name, without and with (errors as text), mean, low and high.
    """
    ingredients = [Ingredient(name, [pair]) for name, pair in pairs.items()]
    paired = differences({REPORT: rows}, {REPORT: ingredients})
    groups = paired.groupby("ingredient")
    texts = {side: groups[f"error_{side}"].agg(summary) for side in ("without", "with")}
    frame = of_networks(paired, ["ingredient"]).rename(columns={"ingredient": "name"})
    return frame.assign(**{side: frame["name"].map(text) for side, text in texts.items()})
