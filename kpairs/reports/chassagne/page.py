"""Parts of report 002 beside its studies: the mini framework, with a page of its own."""

from kpairs.reports.chassagne.disc.page import compared, pages

__all__ = ["compared", "pages"]
