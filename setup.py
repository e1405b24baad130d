"""The packages, found: setuptools' `find` in pyproject.toml allows no renamed folders beside it."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["kpairs*"]),
        "kpairs.cli",
        "kpairs.exports",
        "kpairs.exports.runtime",
        "kpairs.exports.web",
        "kpairs.exports.writing",
    ]
)
