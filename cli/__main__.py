"""`python -m kpairs.cli`, where the `kpairs` script is not on the path."""

from kpairs.cli import run

run()
