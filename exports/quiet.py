"""Silence for what libraries say and no user can mend; the user's own settings stay as they are."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(*loggers: str, about: str = "") -> Iterator[None]:
    """Hide warnings, and what some loggers log, during a block.

    Args:
        *loggers: their names; "" is the root logger. Records of their children pass.
        about: a text that the hidden records hold.
    """

    def passes(record: logging.LogRecord) -> bool:
        return about not in record.getMessage()

    found = [logging.getLogger(name) for name in loggers]
    for logger in found:
        logger.addFilter(passes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in found:
            logger.removeFilter(passes)
