"""Numbers of the page of the mini framework, for `page.md.j2`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from scipy import stats

from kpairs.numbers import interval, welch
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
from kpairs.studies import compare
from kpairs.studies.figures import dots
from kpairs.studies.pages import Page, compared_table
from kpairs.studies.results import Results

_TESTED = 1000
_TANH = "framework figure tanh"


def pages(results: Results) -> list[Page]:
    """Return the page of the mini framework."""
    return [MiniPage(results)]


def compared(folder: str | Path, first: bool = False) -> pd.DataFrame:
    """Compare every number that the report states of its framework with our rows.

    Args:
        folder: of the rows.
        first: of the first 50 rounds alone, the report's number.
    """
    rows = rows_of(folder, DISC)
    return compare_rows(rows[rows["round"] <= ROUNDS] if first and len(rows) else rows)


def compare_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Hold the rows of the disc study against the reported numbers.

    The report's single training, at eta 0.1, stands beside ours with tanh at 0.1.

    Returns:
        As `kpairs.studies.compare.beside`, in the report's order.
    """
    numbers = compare.numbers_of("chassagne")
    numbers = numbers[numbers["table"].str.startswith("framework")]
    activation = numbers["table"].str.split().str[-1].replace("run", "tanh")
    numbers = numbers.assign(activation=activation, learning_rate=_rates(numbers))
    keys = ["activation", "learning_rate"]
    values = rows.reindex(columns=[*keys, "dead_outputs", "test_error_pct", "train_error_pct"])
    values["activation"] = values["activation"].astype(str)
    values = values.melt([*keys, "dead_outputs"], var_name="metric")
    collapsed = values.pop("dead_outputs") == 2
    values = values.assign(collapsed=collapsed, variant="", limit=np.inf)
    return compare.beside(numbers, values, [*keys, "metric"])


def _rates(numbers: pd.DataFrame) -> pd.Series:
    """Return the learning rates that settings such as "eta=0.1 bs=100" name."""
    return numbers["setting"].str.extract(r"eta=([\d.]+)")[0].astype(float)


class MiniPage(Page):
    """The page of the mini framework; its methods give tables and figures, empty of no rows."""

    def __init__(self, results: Results) -> None:
        super().__init__("mini", "reports/chassagne/disc/page.md.j2")
        self.results = results
        self.rows = rows_of(results.folder, DISC)
        self.compared = compare_rows(self.rows)
        self.tested = _TESTED

    def machines(self) -> list[str]:
        """Return the machines of the trainings."""
        known = zip(self.rows["backend"], self.rows["hardware"], strict=True)
        return sorted({f"{backend}, {machine}" for backend, machine in known})

    def further(self) -> list[tuple[str, float, int]]:
        """List the settings with more rounds than the study: activation, learning rate, rounds."""
        counts = self.rows.groupby(["activation", "learning_rate"]).size()
        return [(*setting, count) for setting, count in counts.items() if count > ROUNDS]

    def agreement(self) -> dict[str, int]:
        """Count the numbers of each verdict."""
        return self.results.agreement(self.compared)

    def chance(self) -> dict[str, int]:
        """Count the numbers that differ, and those that would by chance alone."""
        numbers = self.results.numbers
        mine = numbers["number"].isin(self.compared["number"])
        return self.results.chance(numbers[mine & (numbers["report"] == "chassagne")])

    def numbers(self) -> Markup:
        """Return the table of the framework's numbers."""
        place = self.compared["table"].str.removeprefix("framework ")
        return compared_table(self.compared.assign(setting=place + ", " + self.compared["setting"]))

    def dots(self, activation: str) -> Markup:
        """Draw the errors at each learning rate."""
        rows = self.compared[self.compared["table"] == f"framework figure {activation}"]
        figure = dots(rows, f"test error with {activation} (%)")
        words = f"test error with {activation} at each learning rate"
        caption = (
            "The closer the two dots of a row, the better a number came out again. Lines reach one "
            "standard deviation to each side."
        )
        return self.picture(f"learning-rates-{activation}", figure, words, caption)

    def single(self) -> Mapping[str, object]:
        """Return the first and last epoch of the training in the figures, and the reported ends."""
        curves = rows_of(self.results.folder, CURVES)
        if not len(curves):
            return {}
        curve = curves[curves["activation"] == "tanh"]
        stated = self.compared[self.compared["table"] == "framework figure run"]
        first, last = (curve.iloc[place].to_dict() for place in (0, -1))
        ends = stated.set_index("metric")["mean"].to_dict()
        return {"rate": SHOWN["tanh"], "first": first, "last": last, "stated": ends}

    def predictions(self) -> Markup:
        """Draw the test points in the classes that the network gives them."""
        rows = rows_of(self.results.folder, POINTS)
        columns = rows[["x", "y"]], rows["inside"], rows["tanh"]
        figure = figures.predictions(*(column.to_numpy() for column in columns))
        wrong = int((rows["inside"] != rows["tanh"]).sum())
        words = f"{len(rows)} test points by the class that was predicted, {wrong} of them wrong"
        caption = "The dashed circle is the disc. Crosses are wrong: look how near to it they lie."
        return self.picture("predictions", figure, words, caption)

    def epochs(self) -> Markup:
        """Draw the errors and the loss over the epochs."""
        rows = rows_of(self.results.folder, CURVES)
        history = rows[rows["activation"] == "tanh"].to_dict("records")
        words = "training and test error, and training loss, per epoch"
        caption = "The two errors fall together: a gap would mean points learned by heart."
        return self.picture("epochs", figures.errors_and_loss(history), words, caption)

    def boundaries(self) -> Markup:
        """Draw the decision boundaries of both activations."""
        rows = rows_of(self.results.folder, GRID)
        side = math.isqrt(len(rows))
        x, y, *margins = (rows[name].to_numpy().reshape(side, side) for name in rows)
        names = [f"{activation}, {rate:g}" for activation, rate in SHOWN.items()]
        figure = figures.boundaries(x, y, dict(zip(names, margins, strict=True)))
        words = "the disc, and where networks with tanh and with ReLU draw its edge"
        caption = (
            "Tanh bends, ReLU is made of straight pieces; the closer a line to the dashed circle, "
            "the better."
        )
        return self.picture("boundaries", figure, words, caption)

    def by_luck(self) -> pd.DataFrame:
        """Return the reported deviations with tanh beside those of new test points alone.

        Returns:
            A `DataFrame` of rate, least (deviation by the luck of the points, whatever the
            network), std (reported), mean (reported) and chance (that as many runs would deviate
            as little, or less).
        """
        stated = self.compared[self.compared["table"] == _TANH]
        share = stated["mean"] / 100
        least = 100 * (share * (1 - share) / _TESTED) ** 0.5
        freedom = stated["rounds"] - 1
        chance = stats.chi2.cdf(freedom * (stated["std"] / least) ** 2, freedom)
        kept = stated[["mean", "std"]]
        return kept.assign(rate=_rates(stated), least=least, chance=chance)

    def draws(self) -> pd.DataFrame:
        """Return mean, std and count of networks with shared points, by rate and draw."""
        rows = rows_of(self.results.folder, DRAWS)
        if not len(rows):
            return rows
        groups = rows.groupby(["learning_rate", "points"])["test_error_pct"]
        return groups.agg(["mean", "std", "count"]).reset_index()

    def dead(self) -> list[dict[str, Any]]:
        """Return ReLU's errors at each rate by number of dead outputs, and those of tanh."""
        return [
            {
                "rate": rate,
                "tanh": list(rows.loc[rows["activation"] == "tanh", "test_error_pct"]),
                "relu": [
                    list(rows.loc[dead & (rows["activation"] == "relu"), "test_error_pct"])
                    for dead in (rows["dead_outputs"] == count for count in range(3))
                ],
            }
            for rate, rows in self.rows.groupby("learning_rate")
        ]

    def mixtures(self) -> pd.DataFrame:
        """Return means and deviations if as many runs as fit ended at 50 %, the others near 3 %."""
        stated = self.compared[self.compared["table"] == "framework figure relu"]
        runs = stated["rounds"]
        failed = ((stated["mean"] - 3) / 47 * runs).round()
        std = 47 * (failed * (runs - failed) / runs / (runs - 1)) ** 0.5
        return stated.assign(failed=failed, then_mean=3 + 47 * failed / runs, then_std=std)

    def digits(self) -> pd.DataFrame:
        """Return the trainings on digits, with the error of the same round by Keras."""
        rows = rows_of(self.results.folder, DIGITS)
        if not len(rows):
            return rows
        theirs = self.results.rows("haidinger-plain")
        theirs = theirs[theirs["arch"] == "simple"][["round", "epochs", "test_error_pct"]]
        return rows.merge(theirs, how="left", on=["round", "epochs"], suffixes=("", "_keras"))

    def digits_compared(self) -> Mapping[str, object]:
        """Return both means and the 95 % interval of their difference (Welch), if there are any."""
        rows = self.digits()
        both = rows.dropna(subset="test_error_pct_keras") if len(rows) else rows
        if len(both) < 2:
            return {}
        ours, keras = both["test_error_pct"], both["test_error_pct_keras"]
        of_difference = welch(ours.std(), len(ours), keras.std(), len(keras))
        low, high = interval(ours.mean() - keras.mean(), *of_difference)
        return {"ours": list(ours), "keras": list(keras), "low": low, "high": high}
