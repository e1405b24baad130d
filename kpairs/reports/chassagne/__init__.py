"""Report 002: Pierre Chassagne, Thomas Peeters, Nada Guerraoui (2021)."""

NUMBER = "002"
AUTHORS = "Pierre Chassagne, Thomas Peeters, Nada Guerraoui"
YEAR = 2021
TITLE = (
    "Deep Learning Mini Projects: Classification, weight sharing, auxiliary losses "
    "& Mini Deep-Learning Framework"
)
