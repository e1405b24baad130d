"""The five student reports that kpairs reproduces."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """One report; its key in `REPORTS` is its first author's name."""

    number: str
    authors: str
    year: int
    title: str


REPORTS = {
    "haidinger": Report(
        "001",
        "Sacha Haidinger, Nils Olsen, Antoine Spahr",
        2019,
        "Development of a deep neural network comparing hand written digits",
    ),
}
