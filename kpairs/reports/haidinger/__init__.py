"""Report 001: Sacha Haidinger, Nils Olsen, Antoine Spahr (2019)."""

NUMBER = "001"
AUTHORS = "Sacha Haidinger, Nils Olsen, Antoine Spahr"
YEAR = 2019
TITLE = "Development of a deep neural network comparing hand written digits"
