"""Numbers of the page of the mini framework, for `page.md.j2`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from kpairs.numbers import interval, span, welch
from kpairs.reports.chassagne.disc import figures
from kpairs.reports.chassagne.disc.trainings import (
    CURVES,
    DIGITS,
    DISC,
    DRAWS,
    GRID,
    POINTS,
    ROUNDS,
    SHOWN,
    rows_of,
)
from kpairs.studies.compare import beside, numbers_of
from kpairs.studies.figures import numbers
from kpairs.studies.page import Page, shown
from kpairs.studies.results import Results

_TESTED = 1000  # points


def pages(results: Results) -> list[Page]:
    """Return the page of the mini framework."""
    return [MiniPage(results)]


def compared(folder: str | Path) -> pd.DataFrame:
    """Compare every number that the report states of its framework with the rows of a folder."""
    return compare_rows(rows_of(folder, DISC))


def compare_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Hold the rows of the disc study against the reported numbers, as `beside` does.

    The report's single training, at eta 0.1, stands beside ours with tanh at 0.1.
    """
    frame = numbers_of("chassagne")
    frame = frame[frame["table"].str.startswith("framework")]
    activation = frame["table"].str.split().str[-1].replace("run", "tanh")
    rate = frame["setting"].str.extract(r"eta=([\d.]+)")[0].astype(float)
    frame = frame.assign(activation=activation, learning_rate=rate)
    keys = ["activation", "learning_rate"]
    columns = [*keys, "round", "dead_outputs", "test_error_pct", "train_error_pct"]
    values = rows.reindex(columns=columns)
    values["activation"] = values["activation"].astype(str)
    values = values.melt([*keys, "round", "dead_outputs"], var_name="metric")
    collapsed = values.pop("dead_outputs") == 2
    values = values.assign(collapsed=collapsed, variant="", limit=np.inf)
    return beside(frame, values, ROUNDS, [*keys, "metric"])


class MiniPage(Page):
    """The page of the mini framework; its methods give tables and figures, empty of no rows."""

    def __init__(self, results: Results) -> None:
        super().__init__("mini", "reports/chassagne/disc/page.md.j2", results)
        self.rows = rows_of(results.folder, DISC)
        frame = compare_rows(self.rows).assign(report="chassagne")
        self.compared = shown(frame[frame["first_rounds"] > 0])
        place = self.compared["table"].str.removeprefix("framework ").str.removeprefix("figure ")
        self.compared["name"] = (
            place + " " + self.compared["setting"].str.split().str[0].str.removeprefix("eta=")
        )

    def dots(self) -> Markup:
        """Draw reported and our errors at each learning rate."""
        if self.compared.empty:
            return Markup("No training has been run yet.\n")
        figure = numbers(self.compared, "error (%)")
        words = f"error (%) of {len(self.compared)} settings, reported and by kpairs.mini"
        caption = (
            "Lines are 95 % intervals of the means. ReLU fails now and then, hence its spread."
        )
        return self.picture("numbers", figure, words, caption)

    def learned(self) -> Markup:
        """Draw the test points, and where networks with tanh and with ReLU draw the disc's edge."""
        points, grid = (rows_of(self.results.folder, name) for name in (POINTS, GRID))
        side = math.isqrt(len(grid))
        x, y, *margins = (grid[name].to_numpy().reshape(side, side) for name in grid)
        names = [f"{activation}, {rate:g}" for activation, rate in SHOWN.items()]
        edges = x, y, dict(zip(names, margins, strict=True))
        where, inside, told = (points[name].to_numpy() for name in (["x", "y"], "inside", "tanh"))
        figure = figures.learned(where, inside, told, edges)
        wrong = int((points["inside"] != points["tanh"]).sum())
        words = f"{len(points)} test points by predicted class, {wrong} wrong; the networks' edges"
        caption = "Tanh bends, ReLU is made of straight pieces; dashed is the true disc."
        return self.picture("learned", figure, words, caption)

    def single(self) -> Mapping[str, Any]:
        """Return the last epoch of the training in the figure, and the reported ends."""
        curves = rows_of(self.results.folder, CURVES)
        if not len(curves):
            return {}
        last = curves[curves["activation"] == "tanh"].iloc[-1].to_dict()
        stated = self.compared[self.compared["table"] == "framework figure run"]
        return {"last": last, "stated": stated.set_index("metric")["mean"].to_dict()}

    def draws(self) -> pd.DataFrame:
        """Return the reported numbers with tanh beside our means on shared draws of points."""
        rows = rows_of(self.results.folder, DRAWS)
        stated = self.compared[self.compared["table"] == "framework figure tanh"]
        lines = []
        for row in stated.itertuples() if len(rows) else ():
            mine = rows[rows["learning_rate"] == row.learning_rate]
            groups = mine.groupby("points")["test_error_pct"].agg(["mean", "std"])
            share = row.mean / 100
            luck = 100 * (share * (1 - share) / _TESTED) ** 0.5
            means, stds = (f"{groups[n].min():.2f} to {groups[n].max():.2f}" for n in groups)
            lines.append((row.learning_rate, row.mean, means, row.std, stds, f"{luck:.2f}"))
        names = ["mean reported", "ours, by draw", "deviation reported", "ours, within a draw"]
        return pd.DataFrame(lines, columns=["rate", *names, "of points alone"])

    def dead(self) -> pd.DataFrame:
        """Return ReLU's mean errors (and trainings) at each rate by number of dead outputs."""
        rows = self.rows[self.rows["activation"] == "relu"]
        groups = rows.groupby(["learning_rate", "dead_outputs"])["test_error_pct"]
        cells = groups.agg(lambda errors: f"{errors.mean():.1f} % ({len(errors)})")
        wide = cells.unstack(fill_value="").rename(columns="{:.0f} dead".format)
        return wide.rename_axis(index="rate", columns=None).reset_index()

    def digits(self) -> Mapping[str, Any]:
        """Return the test errors on digits, those of the same rounds by Keras, and the interval."""
        rows = rows_of(self.results.folder, DIGITS)
        theirs = self.results.rows("haidinger-plain")
        if rows.empty:
            return {}
        theirs = theirs[theirs["arch"] == "simple"][["round", "epochs", "test_error_pct"]]
        both = rows.merge(theirs, on=["round", "epochs"], suffixes=("", "_keras"))
        if len(both) < 2:
            return {}
        ours, keras = both["test_error_pct"], both["test_error_pct_keras"]
        of_difference = welch(ours.std(), len(ours), keras.std(), len(keras))
        ends = interval(ours.mean() - keras.mean(), *of_difference)
        return {"ours": list(ours), "keras": list(keras), "apart": span(*ends)}
