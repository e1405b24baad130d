"""The second half of report 002: the mini framework's own experiments, and their page."""
