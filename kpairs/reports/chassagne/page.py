"""What report 002 has beside its studies: the mini framework, with a page of its own."""

from kpairs.reports.chassagne.disc.page import compared, pages

__all__ = ["compared", "pages"]
