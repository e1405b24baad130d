"""Every architecture: one module per report, and our own. Importing this package fills `ARCHS`."""

from kpairs.archs import altunina, chassagne, haidinger, kong, piguet, posterior
from kpairs.registry import ARCHS, build

__all__ = ["ARCHS", "altunina", "build", "chassagne", "haidinger", "kong", "piguet", "posterior"]
