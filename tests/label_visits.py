"""A running `kpairs label` and its visitors, for the tests of this folder."""

import http.client
import json
import re
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import numpy as np
from PIL import Image


def write_images(folder, count, size=(40, 30), seed=0):
    """Write greys whose brightness is their true score; return the scores by name."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    levels = rng.permutation(np.linspace(20, 235, count))
    scores = {}
    for number, level in enumerate(levels):
        name = f"{number:04}.png"
        noise = rng.normal(0, 8, (size[1], size[0]))
        Image.fromarray(np.clip(level + noise, 0, 255).astype(np.uint8)).save(folder / name)
        scores[name] = float(level)
    return scores


class Visitor:
    """Somebody with a link, who asks as the page does."""

    def __init__(self, link):
        parts = urlsplit(link)
        self.host, self.port, self.path = parts.hostname, parts.port, parts.path
        self.origin = f"http://{parts.netloc}"

    def request(self, method, place, sent=None, **headers):
        """Return status, headers and body; a header of None is left out."""
        body = json.dumps(sent or {}).encode() if method == "POST" else b""
        own = {"Host": self.origin.removeprefix("http://")}
        if method == "POST":
            own |= {"Origin": self.origin, "Content-Type": "application/json"}
            own |= {"Content-Length": str(len(body))}
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        path = place if place.startswith("/") else self.path + place
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        with closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in own.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def ask(self, place, **sent):
        """Return what the page would get; refusals are errors."""
        status, _, data = self.request("POST", place, sent)
        assert status == 200, (place, status, data)
        return json.loads(data)


@contextmanager
def command(folder, *options):
    """Run `kpairs label` in a process; yields it with the links by name."""
    arguments = [sys.executable, "-m", "kpairs.cli", "label", str(folder), "--no-browser"]
    process = subprocess.Popen(
        [*arguments, *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    links, said = {}, []
    for line in process.stdout:
        said.append(line)
        if found := re.match(r"(\S+): (http://\S+)", line):
            links[found[1]] = found[2]
        if line.startswith("Ctrl-C"):
            break
    assert links, (said, process.stderr.read())
    try:
        yield process, links
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
