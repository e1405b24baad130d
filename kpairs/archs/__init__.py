"""Every architecture: one module per report. Importing this package fills `ARCHS`."""

from kpairs.archs import altunina, chassagne, haidinger, kong, piguet
from kpairs.registry import ARCHS, build

__all__ = ["ARCHS", "altunina", "build", "chassagne", "haidinger", "kong", "piguet"]
