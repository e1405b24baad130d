"""Pages in tests: a server of the demo, and waiting for what a browser shows."""

from contextlib import contextmanager
from threading import Thread

import pytest

from kpairs.exports.web.demo import demo_routes
from kpairs.exports.web.server import LocalServer


@contextmanager
def running(*about):
    """Serve the page of `demo_routes` from a thread; yields the server."""
    with LocalServer(demo_routes(*about)) as server:
        thread = Thread(target=server.run)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(10)
            assert not thread.is_alive()


def until(tab, expression):
    """Wait; the page's own policy forbids what Playwright's wait_for_function does."""
    for _ in range(1200):
        if tab.evaluate(f"() => {expression}"):
            return
        tab.wait_for_timeout(25)
    pytest.fail(expression)
