"""Studies: settings, their trainings, and the one training that is a job."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kpairs.recipes.recipe import Recipe


@dataclass(frozen=True)
class Setting:
    """One row or bar of a study.

    Attributes:
        recipe: the `Recipe`; the study says how many rounds.
        setting: what the report calls it; with the architecture and the study's table it finds
            the reported numbers.
        folds: 0 trains rounds, each with its own pairs; k trains the k folds of a
            cross-validation of the first round's pairs, one round per fold.
        held_out: so many pairs of other training images are what each round is tested on, and no
            test image is seen; 0 for test pairs.
        variant_of: the setting whose reported numbers this one is held against beside that
            setting itself; None where it is no variant.
    """

    recipe: Recipe
    setting: str = ""
    folds: int = 0
    held_out: int = 0
    variant_of: str | None = None

    @property
    def name(self) -> str:
        """Its name in tables and files."""
        return f"{self.recipe.network.arch} {self.setting}".strip()

    @property
    def reported_as(self) -> str:
        """Name of the setting whose reported numbers it is held against."""
        return self.setting if self.variant_of is None else self.variant_of

    def trial(self, number: int) -> "Trial":
        """Return its training of a round or fold, from 1."""
        return Trial(self.recipe, number, self.folds, self.setting, self.held_out)


@dataclass(frozen=True)
class Study:
    """Settings that a report shows together.

    Attributes:
        name: as `kpairs study` takes it.
        report: key in `kpairs.reports.REPORTS`.
        title: what it shows.
        settings: the `Setting`s.
        rounds: of each setting in the report; folds where it is a cross-validation.
        tables: values of the column `table` of the report's reported numbers.
        metrics: the reported metrics that a training can be held against.
        curves: names of the settings whose history per epoch is kept.
        note: what to know of how the report did it.
        judged: whether its numbers may say that a report is right or wrong.
    """

    name: str
    report: str
    title: str
    settings: Sequence[Setting]
    rounds: int
    tables: Sequence[str] = ()
    metrics: Sequence[str] = ()
    curves: Sequence[str] = ()
    note: str = ""
    judged: bool = True

    def __post_init__(self) -> None:
        for name in ("tables", "settings", "metrics", "curves"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def jobs(self, rounds: int | None = None) -> list["Trial"]:
        """Return the trainings of the first rounds: round 1 of every setting, then round 2, ...

        By default as many as the report has. A cross-validation has no more rounds than folds.
        """
        count = self.rounds if rounds is None else rounds
        return [
            setting.trial(number)
            for number in range(1, count + 1)
            for setting in self.settings
            if not setting.folds or number <= setting.folds
        ]

    def quick(self) -> "Study":
        """Return a small true version: 2 rounds, 3 epochs, few settings; too little to judge by."""
        step = -(-len(self.settings) // 6)
        settings = [replace(s, recipe=s.recipe.replace(epochs=3)) for s in self.settings[::step]]
        name = f"{self.name}-quick"
        return replace(self, name=name, settings=tuple(settings), rounds=2, judged=False)


@dataclass(frozen=True)
class Ingredient:
    """Something that a report trains its networks with and without, or one way and another.

    Attributes:
        name: such as "weight sharing"; reports share it.
        pairs: names of the settings without it and with it, of any of the report's studies.
        conclusion: what the report says of it, in a sentence; empty where it says nothing.
        claim: what it does to the test error, so the report: "lowers", "raises", or empty.
    """

    name: str
    pairs: Sequence[tuple[str, str]]
    conclusion: str = ""
    claim: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", tuple(self.pairs))


@dataclass(frozen=True)
class Trial:
    """One training: a round of a recipe, or a fold of its cross-validation.

    Attributes:
        recipe, folds, setting, held_out: of the `Setting`.
        number: the round or fold, from 1.
    """

    recipe: Recipe
    number: int
    folds: int = 0
    setting: str = ""
    held_out: int = 0

    @property
    def id(self) -> str:
        """Hash of the recipe's key and of the round or fold: the name of its folder.

        The content of a folder of images, the backend and the versions are not in it.
        """
        known = f"{self.recipe.key()} {self.number} {self.folds} {self.held_out}"
        return hashlib.sha256(known.encode()).hexdigest()[:16]
