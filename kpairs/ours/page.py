"""Numbers of the page of our own architecture, for `page.md.j2`."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup
from pandas.api.typing import DataFrameGroupBy

from kpairs.markdown import code, table
from kpairs.models.diagram import layer_rows
from kpairs.networks import build
from kpairs.numbers import interval_of, plus_minus, summary
from kpairs.ours import figures
from kpairs.ours.studies import (
    ABLATION,
    FINAL,
    HEAD,
    LONG_FINAL,
    LONG_SELECTION,
    REPORT,
    SCALING,
    SELECTION,
    STUDIES,
    TIME,
)
from kpairs.recipes import Ingredient
from kpairs.reports import RECIPES
from kpairs.studies.effects import differences, of_networks
from kpairs.studies.pages import Page, against_parameters
from kpairs.studies.results import Results, parameters
from kpairs.studies.rows import name_of, read_rows

TARGETS = {"posterior": 0.9, "posterior_s": 1.6}  # percent, set before the first training
# The networks of the head study with their own head, in the studies of their reports.
_OWN_HEADS = {
    "auxws": ("haidinger-plain", "auxws not augmented"),
    "wsal_bd": ("chassagne-table", "wsal_bd lr=1"),
    "a_w_net": ("kong-table-3", "a_w_net"),
    "auxnet2": ("altunina-best", "auxnet2"),
}
_PLAIN, _ONE_PLACE = RECIPES["posterior"], "no shifts"
_TRIED = "posterior-tried.csv"
_SHOWN = 24  # wrong pairs in the picture


def pages(results: Results) -> list[Page]:
    """Return the page of our own architecture."""
    return [OwnPage(results)]


class OwnPage(Page):
    """The page of our own architecture; its methods give tables and figures, empty of no rows."""

    def __init__(self, results: Results) -> None:
        super().__init__("posterior", "ours/page.md.j2")
        self.results, self.studies = results, STUDIES
        self.pass_counts = [
            (s.recipe.fit.epochs, s.recipe.data.pairs)
            for s in SCALING.settings
            if s.recipe.network.arch == "posterior"
        ]

    def layers(self) -> list[dict[str, Any]]:
        """Return the network's layers, as `kpairs.models.diagram.layer_rows` has them."""
        return layer_rows(build("posterior"))

    def result(self) -> list[dict[str, Any]]:
        """Return the final rounds of each architecture."""
        lines = []
        for name, rows in self._groups(FINAL.name):
            errors, target = rows.sort_values("round")["test_error_pct"], TARGETS[name]
            low, high = interval_of(errors)
            lines.append(
                {
                    "name": name,
                    "parameters": parameters(RECIPES[name]),
                    "errors": list(errors),
                    "low": low,
                    "high": high,
                    "digit_errors": list(rows["test_digit_error_pct"]),
                    "target": f"{target}: {_verdict(errors.mean(), high, target)}",
                    "seconds": rows["seconds"].median(),
                }
            )
        return lines

    def sizes(self) -> Markup:
        """Draw the errors against parameters, the reports' networks and ours."""
        points = self.results.points
        if "kpairs" not in set(points["group"]):
            return Markup()
        return against_parameters(self, "parameters", points)

    def selection(self) -> list[dict[str, Any]]:
        """Return the candidates of the cross-validation: errors and last losses of each."""
        recipes = {setting.name: setting.recipe for setting in SELECTION.settings}
        last = _last_epochs(self.results.rows(SELECTION.name, "curves"))
        return [
            {
                "setting": rows["setting"].iloc[0],
                "parameters": parameters(recipes[name]),
                "errors": list(rows["test_error_pct"]),
                "digit_errors": list(rows["test_digit_error_pct"]),
                "losses": last[name_of(last) == name].to_dict("list"),
            }
            for name, rows in self._groups(SELECTION.name)
        ]

    def choice(self, folds: int) -> list[str]:
        """Return the best of the first six tries on the first folds, by either loss."""
        last = _last_epochs(self.results.rows(SELECTION.name, "curves"))
        if not len(last):
            return []
        tried = [setting.setting for setting in SELECTION.settings[:6]]
        first = last[(last["round"] <= folds) & last["setting"].isin(tried)]
        means = first.groupby("setting")[["test_comparison_loss", "test_digit_loss"]].mean()
        return list(means.idxmin())

    def long_selection(self) -> list[dict[str, Any]]:
        """Return the candidates on held-out training images: see `_of_all_pairs`."""
        return self._of_all_pairs(LONG_SELECTION.name)

    def long_result(self) -> list[dict[str, Any]]:
        """Return the rounds of the longer recipe, and of the default: see `_of_all_pairs`."""
        return self._of_all_pairs(LONG_FINAL.name)

    def tried(self) -> list[dict[str, Any]]:
        """Return the trials of `docs/experiments/posterior_tried.py`, by machine.

        Errors of all pairs with five shifts, their mean difference on the same rounds, and the
        least seconds, machine by machine: on another, rounding makes another training of a round.
        """
        rows = self._tried_rows()
        lines = []
        for machine, (_, mine) in enumerate(rows.groupby("hardware", sort=False), 1):
            errors = mine.pivot(index="round", columns="setting", values="five_shifts_error_pct")
            first = mine["setting"].iloc[0]
            less = errors.sub(errors[first], axis=0).mean()
            seconds = mine.groupby("setting")["seconds"].min()
            lines += [
                {
                    "setting": setting,
                    "machine": machine,
                    "errors": list(errors[setting].dropna()),
                    "less": "" if setting == first else less[setting],
                    "seconds": seconds[setting],
                }
                for setting in mine["setting"].unique()
            ]
        return lines

    def tried_again(self) -> list[float]:
        """Return the difference between machines in each round of the first trial."""
        rows = self._tried_rows()
        rows = rows[rows["setting"] == rows["setting"].head(1).squeeze()]
        errors = rows.pivot(index="round", columns="hardware", values="five_shifts_error_pct")
        ranges = errors.max(axis="columns") - errors.min(axis="columns")
        return list(ranges[errors.count(axis="columns") > 1])

    def _tried_rows(self) -> pd.DataFrame:
        file, columns = self.results.folder / _TRIED, ["round", "five_shifts_error_pct", "seconds"]
        if not file.exists():
            return pd.DataFrame(columns=["setting", "hardware", *columns])
        return read_rows(file, ["setting", "hardware", *columns])

    def timed(self) -> pd.DataFrame:
        """Return errors of all pairs by arch and epochs, their mean and the least seconds."""
        groups = self.results.rows(TIME.name).groupby(["arch", "epochs"], sort=False)
        return pd.DataFrame(
            [
                {
                    "arch": arch,
                    "epochs": epochs,
                    "errors": list(rows["all_pairs_error_pct"]),
                    "mean": rows["all_pairs_error_pct"].mean(),
                    "seconds": self._least_seconds(arch, epochs),
                }
                for (arch, epochs), rows in groups
            ]
        )

    def _least_seconds(self, arch: str, epochs: int) -> float:
        """Return the fastest round's seconds; slower ones only show a busy machine."""
        rows = pd.concat([self.results.rows(study.name) for study in (LONG_FINAL, TIME)])
        return rows[(rows["arch"] == arch) & (rows["epochs"] == epochs)]["seconds"].min()

    def time_lines(self) -> Markup:
        """Draw the errors over the time of a training."""
        frame = self.timed()
        words = "Error of all pairs over the seconds of a round: " + "; ".join(
            f"{row.arch}, {row.seconds:.0f} s, {row.mean:.2f} %" for row in frame.itertuples()
        )
        caption = "Dots are rounds, lines their means, numbers the epochs."
        return self.picture("time", figures.time_lines(frame), words, caption)

    def _of_all_pairs(self, study: str) -> list[dict[str, Any]]:
        """Return each setting's errors of all pairs, with shifts and without."""
        return [
            {
                "arch": rows["arch"].iloc[0],
                "setting": rows["setting"].iloc[0],
                "shifted": list(rows["all_pairs_error_pct"]),
                "interval": interval_of(rows["all_pairs_error_pct"]),
                "unshifted": list(rows["unshifted_error_pct"]),
                "brought": interval_of(rows["all_pairs_error_pct"] - rows["unshifted_error_pct"]),
                "digits": list(rows["all_pairs_digit_error_pct"]),
                "drawn": list(rows["test_error_pct"]),
                "seconds": self._least_seconds(rows["arch"].iloc[0], rows["epochs"].iloc[0]),
            }
            for _, rows in self._groups(study)
        ]

    def ablation(self) -> pd.DataFrame:
        """Return the effect of each part over all pairs, by change: see `_paired`.

        `alone_mean`, `alone_low` and `alone_high` are the differences of the same networks seen at
        one place, NaN where that is what was changed.
        """
        final = self.results.rows(LONG_FINAL.name)
        whole = final[(final["arch"] == "posterior") & (final["epochs"] == _PLAIN.fit.epochs)]
        parts = [whole.assign(setting="whole"), self.results.rows(ABLATION.name)]
        alone = _in_place_of_drawn(whole, "unshifted_error_pct").assign(setting=_ONE_PLACE)
        names = [_ONE_PLACE, *(s.setting for s in ABLATION.settings)]
        pairs = {name: ("posterior whole", f"posterior {name}") for name in names}
        shifted, single = (
            _paired([*(_in_place_of_drawn(part, column) for part in parts), *others], pairs)
            for column, others in (("all_pairs_error_pct", [alone]), ("unshifted_error_pct", []))
        )
        single = single[["name", "mean", "low", "high"]].set_index("name").add_prefix("alone_")
        return shifted.join(single, on="name")

    def ablation_dots(self) -> Markup:
        """Draw the effect of each part."""
        label = "error of all pairs minus the whole recipe's (points, 95 %)"
        frame = self.ablation()
        each = [
            f"{name} {mean:+.2f}" for name, mean in zip(frame["name"], frame["mean"], strict=True)
        ]
        words = f"{label}: {', '.join(each)}"
        caption = (
            "Right of 0 more pairs are wrong without the part, so that it helps; a line across 0 "
            "leaves that open."
        )
        return self.picture("ablation", figures.difference_dots(frame, label), words, caption)

    def heads(self) -> pd.DataFrame:
        """Return the effect of the exact head on the reports' networks: see `_paired`."""
        studies = [HEAD.name, *(study for study, _ in _OWN_HEADS.values())]
        frame = _paired(
            [self.results.rows(name) for name in studies],
            {arch: (own, f"{arch} exact head") for arch, (_, own) in _OWN_HEADS.items()},
        )
        exact = {s.recipe.network.arch: parameters(s.recipe) for s in HEAD.settings}
        own = {arch: parameters(RECIPES[arch]) for arch in exact}
        return frame.assign(own=frame["name"].map(own), exact=frame["name"].map(exact))

    def _scaled(self) -> pd.DataFrame:
        """Return the test error's mean, std and count by arch and number of training pairs."""
        pairs = {s.name: s.recipe.data.pairs for s in SCALING.settings}
        rows = self.results.rows(SCALING.name)
        groups = rows.assign(pairs=name_of(rows).map(pairs)).groupby(["arch", "pairs"], sort=False)
        return groups["test_error_pct"].agg(["mean", "std", "count"]).reset_index()

    def scaling(self) -> Markup:
        """Draw the errors over the number of training pairs, with their table."""
        frame = self._scaled()
        if not len(frame):
            return Markup()
        figure = figures.scaling_lines(frame.sort_values("pairs"))
        caption = (
            "How far one network lies below the other at the same number of pairs, and how many "
            "more pairs the other needs to come as far. Lines are one standard deviation of single "
            "trainings. Both axes are logarithmic."
        )
        words = "test error over the number of training pairs; the table below has the numbers"
        picture = self.picture("scaling", figure, words, caption)
        frame["text"] = [
            plus_minus(mean, std, count, 2)
            for mean, std, count in frame[["mean", "std", "count"]].to_numpy()
        ]
        wide = frame.pivot(index="arch", columns="pairs", values="text").fillna("not run")
        wide.columns = [f"{count:,}" for count in wide.columns]
        wide.insert(0, "architecture", wide.index.map(code))
        return picture + "\n" + table(wide)

    def as_good(self) -> Markup:
        """Return the table of the pairs that other networks need to match `posterior`."""
        means = self._scaled().pivot(index="arch", columns="pairs", values="mean")
        if "posterior" not in means.index:
            return Markup()
        lines = []
        for count, error in means.loc["posterior"].dropna().items():
            line = {code("posterior"): f"{count:,} pairs: {error:.2f} %"}
            for arch, others in means.drop(index="posterior").iterrows():
                enough = others.index[others <= error]
                line[code(arch)] = f"{enough[0]:,}" if len(enough) else f"over {others.index[-1]:,}"
            lines.append(line)
        return table(pd.DataFrame(lines))

    def wrong(self) -> pd.DataFrame:
        """Return the wrongly ordered test pairs of the final rounds, the surest first."""
        rows = self.results.rows(FINAL.name, "wrong")
        return rows.sort_values("probability", ascending=False) if len(rows) else rows

    def misread(self) -> int:
        """Count the wrong pairs with a misread digit."""
        rows = self.wrong()
        sides = [rows[f"{side}_seen"] != rows[f"{side}_digit"] for side in ("left", "right")]
        return int((sides[0] | sides[1]).sum())

    def wrong_pairs(self) -> Markup:
        """Draw the surest mistakes."""
        shown = self.wrong()[:_SHOWN]
        truth = zip(shown["left_digit"], shown["right_digit"], strict=True)
        words = f"pairs that are ordered wrongly: {', '.join(f'{a} and {b}' for a, b in truth)}"
        caption = (
            "Above each pair what is true, and what the network saw and how sure it was. "
            "Would you have told them apart?"
        )
        return self.picture("wrong-pairs", figures.wrong_sheet(shown), words, caption)

    def _groups(self, study: str) -> DataFrameGroupBy:
        rows = self.results.rows(study)
        return rows.groupby(name_of(rows), sort=False)


def _verdict(mean: float, high: float, target: float) -> str:
    if mean > target:
        return "not reached"
    return "reached" if high <= target else "reached by the mean, not by the whole interval"


def _in_place_of_drawn(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return rows with another column, which all of them have, as test error."""
    return rows.assign(test_error_pct=rows[column]) if len(rows) else rows


def _last_epochs(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of each round's curve."""
    return curves.groupby(["arch", "setting", "round"], as_index=False, sort=False).last()


def _paired(parts: Sequence[pd.DataFrame], pairs: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """Return the differences on the same rounds.

    Args:
        parts: rows of all settings.
        pairs: a name to its settings without and with.

    Returns:
        A `DataFrame` of name, without and with (errors as text), mean, low and high.
    """
    ingredients = [Ingredient(name, [pair]) for name, pair in pairs.items()]
    paired = differences({REPORT: pd.concat(parts)}, {REPORT: ingredients})
    groups = paired.groupby("ingredient")
    texts = {side: groups[f"error_{side}"].agg(summary) for side in ("without", "with")}
    frame = of_networks(paired, ["ingredient"]).rename(columns={"ingredient": "name"})
    return frame.assign(**{side: frame["name"].map(text) for side, text in texts.items()})
