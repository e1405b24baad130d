"""A sitting from start to end: folder, table, links and server, for the command and for Python."""

from __future__ import annotations

import getpass
import re
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Self

from kpairs.errors import InputError, KpairsError, UsageError, missing
from kpairs.exports.web.label.server import Links, Page, people
from kpairs.exports.web.label.session import Session
from kpairs.exports.web.label.training import Training
from kpairs.exports.web.server import ADDRESS, LocalServer
from kpairs.judging import Judgements

QUESTION = "Which ranks higher?"
_REPEATED = 0.05  # share of pairs that each of several judges is asked twice
_ENDING = 10  # most seconds that the server may take to end; answers are on disk by then
_EVERYWHERE = ("", "0.0.0.0", "::", "*")


class Sitting:
    """A page to compare on, and its server; a context manager.

    Arguments are those of `label`, and: `repeat` is the share of pairs asked twice, by default 0.05
    with several judges, else 0; `white` the level of 16-bit grey that is white; `port` by default
    the one of the last sitting with this table, or a free one; `host` an address of this machine in
    a network, for several judges; `url` where browsers see the page, if a proxy with TLS stands
    before.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        question: str = QUESTION,
        out: str | Path | None = None,
        judge: str | None = None,
        judges: Sequence[str] = (),
        ties: bool = True,
        group: str | None = None,
        repeat: float | None = None,
        white: int = 65535,
        port: int | None = None,
        host: str = ADDRESS,
        url: str | None = None,
    ) -> None:
        names = _checked_names(judge, judges)
        _check_addresses(host, url, several=bool(judges))
        table = Path(out) if out is not None else Path(folder) / "pairs.csv"
        if table.suffix.lower() != ".csv":
            raise UsageError(f"{table}: expected a table whose name ends in .csv")
        if not Path(folder).is_dir():
            raise missing(folder)
        if not table.parent.is_dir():
            raise InputError(f"{table.parent}: no such folder for the table of answers")
        self.session = Session(
            folder,
            table,
            names,
            question=question,
            ties=ties,
            group=group,
            repeat=(_REPEATED if judges else 0.0) if repeat is None else repeat,
            white=white,
        )
        try:
            links = Links(table)
            self._server = _listening(host, port, links.port, url)
        except BaseException:
            self.session.answers.close()
            raise
        persons = people(names, links.keys, alone=not judges)
        links.keep(self._server.port, persons)
        base, end = self._server.url, self._server.stop
        self._training = Training(table, Path(folder), white)
        self._server.serve(Page(self.session, persons, base, end, self._training).routes())
        # Address by name; the starter's is "".
        self.links = {"" if p.starter else str(p.judge): f"{base}{p.key}/" for p in persons}

    def run(self) -> None:
        """Serve until the page or Ctrl-C ends it."""
        ended = Event()

        def serve() -> None:
            try:
                self._server.run()
            finally:
                ended.set()

        with suppress(KeyboardInterrupt):
            Thread(target=serve, daemon=True).start()  # an interrupt may come before it returns
            while not ended.wait(0.5):  # an interrupt within Thread.join would lose the thread
                pass
        self._server.stop()
        ended.wait(_ENDING)

    def stop(self) -> None:
        """Make `run` return, from another thread."""
        self._server.stop()

    def __enter__(self) -> Self:
        self.session.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()
        self._training.close()
        self.session.__exit__()


def label(
    folder: str | Path,
    *,
    question: str = QUESTION,
    out: str | Path | None = None,
    judge: str | None = None,
    judges: Sequence[str] = (),
    ties: bool = True,
    group: str | None = None,
    browser: bool = True,
    say: Callable[[str], object] = print,
) -> Judgements | None:
    """Open a page on which people compare a folder's images, and wait until they end it.

    Each answer is kept in a table, on disk before the page confirms it. Calling this again goes on.

    Args:
        folder: the images, also in its folders.
        question: what is asked about each pair.
        out: table of answers; default pairs.csv in the folder.
        judge: name of the one judge; default the user's login name.
        judges: names of several judges, who get a link each.
        ties: a judge may say that two images are equal.
        group: pairs stay within groups: "folder", or a regular expression on names.
        browser: open the page in a browser.
        say: called with lines that tell the links.

    Returns:
        All answers of the table, about all images of the folder, for `kpairs.score`; None where
        there are no answers.

    Raises:
        InputError: fewer than two images, or a table that something else wrote.
        KpairsError: another process holds the table.

    Example:
        >>> import kpairs
        >>> answers = kpairs.label("photos", question="Which is sharper?")  # doctest: +SKIP
        http://127.0.0.1:41873/pDq2.../ (the page's Finish, or an interrupt, ends it)
        >>> kpairs.score(answers).expected_tau  # doctest: +SKIP
        0.71
    """
    sitting = Sitting(
        folder, question=question, out=out, judge=judge, judges=judges, ties=ties, group=group
    )
    with sitting:
        for name, link in sitting.links.items():
            ending = " (the page's Finish, or an interrupt, ends it)"
            say(f"{name}: {link}" if name else f"{link}{ending}")
        if browser:
            webbrowser.open(sitting.links[""])
        sitting.run()
    answers = sitting.session.answers
    if not any(answer.label for answer in answers.rows):
        return None
    return Judgements.read(answers.path, sitting.session.images.files)


def _checked_names(judge: str | None, judges: Sequence[str]) -> list[str]:
    if isinstance(judges, str):  # each letter would be a judge
        raise UsageError(f"judges: expected a list of names, such as [{judges!r}]")
    if judge is not None and judges:
        raise UsageError("expected one judge, or several judges; received both")
    names = [name.strip() for name in judges] or [(_login() if judge is None else judge).strip()]
    if len(set(names)) < len(names):
        raise UsageError(f"judges: expected each name once, received {', '.join(names)}")
    for name in names:
        if not name or not name.isprintable() or len(name) > 80:
            raise UsageError(f"judges: expected names of 1 to 80 characters, received {name!r}")
    return names


def _login() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user without an entry, as containers have
        return "judge"


def _check_addresses(host: str, url: str | None, several: bool) -> None:
    if host in _EVERYWHERE:
        raise UsageError(
            f"host: expected the address by which others reach this machine, such as 192.168.1.20; "
            f"received {host!r}"
        )
    if (host != ADDRESS or url) and not several:
        raise UsageError("host: expected judges, whose links let them in; add --judges anna,ben")
    if url and not re.fullmatch(r"https?://[^/\s]+/?", url):
        raise UsageError(f"url: expected such as https://label.example.org, received {url!r}")


def _listening(host: str, port: int | None, earlier: int, url: str | None) -> LocalServer:
    """Return a server: on the port that is wanted, or the earlier one, or a free one."""
    origin = url and url.rstrip("/")
    if port is None and earlier:
        with suppress(OSError):
            return LocalServer(port=earlier, address=host, origin=origin)
    try:
        return LocalServer(port=port or 0, address=host, origin=origin)
    except OSError as error:
        where = f"{host}:{port}" if port else host
        raise KpairsError(f"{where}: cannot listen here: {error.strerror}") from error
