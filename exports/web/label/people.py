"""Who has a link to the page. A link holds a key, which tells who comes and lets them in."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from starlette.exceptions import HTTPException

from kpairs.errors import InputError
from kpairs.files import read_json, write_json

_KEY_BYTES = 16
_LARGEST = 10_000  # bytes of the file of links


@dataclass(frozen=True)
class Person:
    """Somebody with a link.

    Attributes:
        key: the secret part of the link.
        judge: the name under which the person compares; None for who only started the page.
        starter: sees ranking, judges, tables and file names, and may take back any answer.
    """

    key: str
    judge: str | None
    starter: bool


def people(judges: Sequence[str], known: Mapping[str, str], alone: bool) -> list[Person]:
    """Return who has a link, the starter first.

    Args:
        judges: names.
        known: keys by name, of an earlier sitting; the starter's is "".
        alone: the one judge is the starter.
    """

    def key(name: str) -> str:
        return known.get(name) or secrets.token_urlsafe(_KEY_BYTES)

    if alone:
        return [Person(key(""), judges[0], True)]
    return [Person(key(""), None, True), *(Person(key(name), name, False) for name in judges)]


class Links:
    """Keys and port of earlier sittings, so that a link lasts: a file for its owner's eyes alone.

    Args:
        table: of answers; the file stands beside it.
    """

    def __init__(self, table: Path) -> None:
        self._file = table.with_name(f".{table.name}.links.json")
        self.port, self.keys = 0, dict[str, str]()
        with suppress(InputError, TypeError, AttributeError, ValueError, KeyError):
            found = read_json(self._file, "links", _LARGEST)
            keys = {str(name): str(key) for name, key in found["keys"].items()}
            if all(len(key) >= _KEY_BYTES and key.isascii() for key in keys.values()):
                self.port, self.keys = int(found["port"]), keys

    def keep(self, port: int, persons: Iterable[Person]) -> None:
        """Write down the port and the keys."""
        self.keys |= {"" if p.starter else str(p.judge): p.key for p in persons}
        mask = os.umask(0o077)
        try:
            write_json(self._file, {"port": port, "keys": self.keys})
        finally:
            os.umask(mask)


def admitted(
    persons: Sequence[Person], key: str, *, starter: bool = False, judge: bool = False
) -> Person:
    """Return the person with that key. All keys are compared, each in constant time.

    Args:
        persons: who has a link.
        key: of a link.
        starter: only the starter may come.
        judge: only those who compare may come.

    Raises:
        HTTPException: nobody of that key may come.
    """
    found = [p for p in persons if hmac.compare_digest(p.key.encode(), key.encode())]
    if not found or (starter and not found[0].starter) or (judge and found[0].judge is None):
        raise refusal()
    return found[0]


def refusal() -> HTTPException:
    """Return the answer to a stranger."""
    return HTTPException(
        HTTPStatus.FORBIDDEN, "expected a link as 'kpairs label' shows it; ask who started it"
    )
