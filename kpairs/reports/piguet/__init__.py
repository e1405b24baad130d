"""Report 000: Axelle Piguet, Gaëtan Bossy, Fabrizio Forte (2021)."""

NUMBER = "000"
AUTHORS = "Axelle Piguet, Gaëtan Bossy, Fabrizio Forte"
YEAR = 2021
TITLE = "Project 1 - Deep Learning EE559"
