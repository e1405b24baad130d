"""Report 004: Olesia Altunina, Mauro Pfister, Joey Zenhaeusern (2019)."""

NUMBER = "004"
AUTHORS = "Olesia Altunina, Mauro Pfister, Joey Zenhaeusern"
YEAR = 2019
TITLE = "Deep Learning - Miniproject 2"
