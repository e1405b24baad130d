"""Every architecture: one module per report. Importing this package fills `ARCHS`."""

from kpairs.archs import haidinger
from kpairs.registry import ARCHS, build

__all__ = ["ARCHS", "build", "haidinger"]
