"""Every registered network: importing this fills `ARCHS` from the reports' and our own folders."""

from importlib import import_module

from kpairs.models.registry import ARCHS, build
from kpairs.reports import FOLDERS

for _folder in FOLDERS:
    import_module(f"{_folder}.networks")

__all__ = ["ARCHS", "build"]
