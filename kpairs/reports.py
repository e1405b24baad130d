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
    "piguet": Report(
        "000",
        "Axelle Piguet, Gaëtan Bossy, Fabrizio Forte",
        2021,
        "Project 1 - Deep Learning EE559",
    ),
    "haidinger": Report(
        "001",
        "Sacha Haidinger, Nils Olsen, Antoine Spahr",
        2019,
        "Development of a deep neural network comparing hand written digits",
    ),
    "chassagne": Report(
        "002",
        "Pierre Chassagne, Thomas Peeters, Nada Guerraoui",
        2021,
        "Deep Learning Mini Projects: Classification, weight sharing, auxiliary losses & Mini "
        "Deep-Learning Framework",
    ),
    "kong": Report(
        "003",
        "Lingjing Kong, Jiahua Wu, Phan Huy Thong",
        2019,
        "EE559 Project 1: Classification, Weight Sharing, Auxiliary Losses",
    ),
    "altunina": Report(
        "004",
        "Olesia Altunina, Mauro Pfister, Joey Zenhaeusern",
        2019,
        "Deep Learning - Miniproject 2",
    ),
}
