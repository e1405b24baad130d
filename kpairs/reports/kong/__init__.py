"""Report 003: Lingjing Kong, Jiahua Wu, Phan Huy Thong (2019)."""

NUMBER = "003"
AUTHORS = "Lingjing Kong, Jiahua Wu, Phan Huy Thong"
YEAR = 2019
TITLE = "EE559 Project 1: Classification, Weight Sharing, Auxiliary Losses"
