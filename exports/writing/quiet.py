"""Silence for library warnings that no user can mend; the user's own settings stay."""

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager


@contextmanager
def quiet(*loggers: str, about: Collection[str] = ("",)) -> Iterator[None]:
    """Hide warnings during a block, and what loggers of these names log about these texts.

    "" is the root logger. Records of a logger's children pass.
    """

    def passes(record: logging.LogRecord) -> bool:
        return not any(text in record.getMessage() for text in about)

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
