"""The page of `kpairs demo`: who is answered, what, and by what."""

import base64
import http.client
import io
import json
import re
import socket
import statistics
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from families import networks
from pages import running
from PIL import Image

from kpairs.errors import UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.web.browser import NothingRunsIt, PageModel
from kpairs.exports.web.network import OPERATORS, graph_of
from kpairs.exports.web.page import page, script, standalone
from kpairs.exports.web.server import ADDRESS, MAX_BODY


@pytest.fixture(scope="module")
def model(exported):
    _, (onnx, *_), _ = exported("auxws")
    return PairModel.load(onnx.path)


@pytest.fixture(scope="module")
def server(model):
    with running({"auxws": model}) as server:
        yield server


def ask(server, method, path, body=b"", **headers):
    """A request as the page sends it, but for the headers that are given; None leaves one out."""
    body = body.encode() if isinstance(body, str) else body
    own = {"Host": f"{ADDRESS}:{server.port}", "Origin": f"http://{ADDRESS}:{server.port}"}
    own |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    own |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(ADDRESS, server.port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    for name, value in own.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    received = response.read()
    connection.close()
    return response.status, received


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def body(rng):
    pictures = rng.integers(0, 100, (2, 28, 28), dtype=np.uint8)
    sent = dict(zip(("left", "right"), map(png, pictures), strict=True))
    return json.dumps(sent).encode(), pictures


def test_pictures_are_answered_as_by_predict(server, model, rng):
    sent, (left, right) = body(rng)
    status, received = ask(server, "POST", "/compare", sent)
    assert status == 200
    (answer,) = json.loads(received)["models"]
    expected = model.predict(left, right)
    assert list(answer["outputs"]) == list(expected)
    for name, values in answer["outputs"].items():
        np.testing.assert_array_equal(np.float32(values), expected[name][0])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "kpairs.example"}, 403),  # a name that its owner lets point to this machine
        ({"Host": f"{ADDRESS}:1"}, 403),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": None}, 403),
        ({"Content_Type": "text/plain"}, 415),  # what a form of another site may send
        ({"Content_Length": str(MAX_BODY + 1)}, 413),
        ({"Content_Length": None}, 411),
        ({"Content_Length": "-1"}, 400),
    ],
)
def test_others_are_refused(server, rng, headers, status):
    assert ask(server, "POST", "/compare", body(rng)[0], **headers)[0] == status
    if "Host" in headers:
        assert ask(server, "GET", "/", **headers)[0] == status


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"[]",
        b"{",
        b'{"left": "a", "right": 3}',
        b"[" * 10**5,
        b'{"left": "AAAA", "right": "AAAA"}',
    ],
)
def test_what_is_no_pair_of_pictures_is_refused_in_words(server, sent):
    status, received = ask(server, "POST", "/compare", sent)
    assert status == 400
    assert "expected" in json.loads(received)["error"]


def test_only_this_machine_reaches_it(server):
    """It listens on 127.0.0.1 alone: not on what other machines reach this one by."""
    assert server.url == f"http://127.0.0.1:{server.port}/"
    for address in {"127.0.0.2", *socket.gethostbyname_ex(socket.gethostname())[2]} - {ADDRESS}:
        with pytest.raises(OSError, match=r"refused|timed out|unreachable|assign"):
            socket.create_connection((address, server.port), timeout=5)


def test_there_is_one_page_and_it_asks_nobody_else(server):
    status, received = ask(server, "GET", "/", Origin=None)
    assert status == 200
    assert "connect-src &#39;self&#39;" in received.decode()
    assert not re.search(rb"(src|href)=", received)
    assert ask(server, "GET", "/../setup.py")[0] == 404
    assert ask(server, "POST", "/")[0] == 405


def test_the_server_needs_neither_keras_nor_torch():
    script = (
        "import sys, kpairs.cli.demo, kpairs.exports.web.demo, kpairs.exports.web.page\n"
        "print(sorted({'keras', 'torch'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_names_from_files_are_text():
    config = {"models": [{"name": "</script><b>", "pixels": {"height": 9, "width": 9}}]}
    assert "</script><b>" not in page(config, title="<b>", footer="<b>")


def test_the_scripts_operators_are_those_that_are_let_through():
    block = re.search(r"const OPERATORS = \{(.*?)\n\};", script("network"), re.DOTALL)[1]
    assert set(re.findall(r"^  (\w+):", block, re.MULTILINE)) == set(OPERATORS)


def test_what_the_script_does_not_have_is_refused(exported):
    proto = exported("auxws")[0].proto(20)
    for change, said in (
        (lambda node: setattr(node, "op_type", "Cos"), "the operator Cos"),
        (lambda node: node.attribute.add(name="group", i=2, type=2), "Conv with group=2 instead"),
    ):
        other = type(proto).FromString(proto.SerializeToString())
        conv = next(node for node in other.graph.node if node.op_type == "Conv")
        del conv.attribute[:]
        change(conv)
        with pytest.raises(UsageError, match=said):
            graph_of(other)


NO_PAGE = {
    "fc_3": "too large",
    "linear": "a page runs small networks",
    "linear_grades": "a page cannot run",
}


@networks(("auxws", "posterior_s"))
def test_the_page_computes_what_onnxruntime_computes(name, exported, tmp_path):
    """By a browser, or node."""
    trained, (onnx, *_), pairs = exported(name)
    model = PairModel.load(onnx.path)
    file = tmp_path / "page.html"
    if name in NO_PAGE:
        with pytest.raises(UsageError, match=NO_PAGE[name]):
            standalone(trained.proto(20), model, pairs)
        return
    file.write_text(standalone(trained.proto(20), model, pairs))
    assert file.stat().st_size < 2e6
    inputs = [images[:10] for images in (pairs.left, pairs.right)]
    try:
        received = PageModel(file).run(*inputs)
    except NothingRunsIt as error:
        pytest.skip(str(error))
    for output, values in model.compare(*inputs).items():
        np.testing.assert_allclose(received[output], values, atol=1e-4)


def test_many_questions_on_one_connection(server, rng):
    """Answers come at once: no delay of the network between an answer's parts, which was 40 ms."""
    sent, _ = body(rng)
    connection = http.client.HTTPConnection(ADDRESS, server.port, timeout=30)
    headers = {"Origin": f"http://{ADDRESS}:{server.port}", "Content-Type": "application/json"}
    times = []
    for _ in range(30):
        start = time.perf_counter()
        connection.request("POST", "/compare", sent, headers)
        assert connection.getresponse().read()
        times.append(time.perf_counter() - start)
    connection.close()
    assert statistics.median(times) < 0.03


def test_two_hundred_clients_at_once_are_all_answered(server, rng):
    sent, _ = body(rng)
    with ThreadPoolExecutor(200) as pool:
        found = list(pool.map(lambda _: ask(server, "POST", "/compare", sent), range(200)))
    assert Counter(status for status, _ in found) == {200: 200}
    assert len({received for _, received in found}) == 1


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"POST /compare HTTP/1.1\r\n",
        b"POST /compare HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
        b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
    ],
    ids=["silent", "head", "body"],
)
def test_slow_clients_are_dropped(model, start, monkeypatch):
    """A byte every 100 ms; meanwhile others are answered."""
    monkeypatch.setattr("kpairs.exports.web.server._PATIENCE", 0.5)
    with running({"auxws": model}) as server:
        start = start.replace(b"{host}", f"{ADDRESS}:{server.port}".encode())
        with socket.create_connection((ADDRESS, server.port), timeout=10) as slow:
            slow.sendall(start)
            for _ in range(100):
                time.sleep(0.1)
                try:
                    slow.sendall(b"x" if start else b"")
                    slow.settimeout(0.01)
                    received = slow.recv(1)
                except TimeoutError:
                    continue
                except ConnectionError:
                    received = b""
                break
            else:
                pytest.fail("it was never dropped")
            assert received == (b"H" if b"Length" in start else b"")  # a 408 in words, or the end
        assert ask(server, "GET", "/")[0] == 200


def test_a_png_that_lacks_rows_is_refused(server, rng):
    """Pillow gives black for missing rows."""
    whole = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (28, 28), dtype=np.uint8)).save(whole, "PNG")
    data = whole.getvalue()
    place = data.index(b"IDAT")
    (size,) = struct.unpack(">I", data[place - 4 : place])
    rows = zlib.compress(zlib.decompress(data[place + 4 : place + 4 + size])[:-100])
    chunk = struct.pack(">I", len(rows)) + b"IDAT" + rows
    chunk += struct.pack(">I", zlib.crc32(b"IDAT" + rows))
    short = base64.b64encode(data[: place - 4] + chunk + data[place + 8 + size :]).decode()
    status, received = ask(server, "POST", "/compare", json.dumps({"left": short, "right": short}))
    assert (status, json.loads(received)["error"][:32]) == (400, "left: the image cannot be read: ")


def test_maps_are_answered_where_they_are_asked_for(server, model, rng):
    sent = {side: png(rng.integers(0, 256, (28, 28), dtype=np.uint8)) for side in ("left", "right")}
    for asked in (False, True):
        body = json.dumps({**sent, "explain": asked})
        status, received = ask(server, "POST", "/compare", body)
        (answer,) = json.loads(received)["models"]
        assert (status, "maps" in answer) == (200, asked)
    assert any("occlusion" in sentence for sentence in answer["maps"]["caption"])
    for side in sent:
        kind, _, data = answer["maps"][side].partition(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (14, 14)


def test_pictures_of_the_page_are_not_inverted_and_doubtful_ones_are_told(model, rng):
    """A network of dark ink: strokes and samples are bright, whatever the network reads."""
    dark = copy(model)
    dark.pixels = replace(model.pixels, ink="dark")
    left, right = rng.integers(0, 100, (2, 28, 28), dtype=np.uint8)
    sent = {"left": png(left), "right": png(255 - right)}
    with running({"dark": dark}) as server:
        answers = []
        for further in ({}, {"as_is": ["left"]}):
            status, received = ask(server, "POST", "/compare", json.dumps({**sent, **further}))
            assert status == 200
            answers += json.loads(received)["models"]
    expected = model.predict(left, right)  # the same network, of bright ink
    assert [answer["doubtful"] for answer in answers] == [["left"], []]
    for name, values in expected.items():
        np.testing.assert_allclose(answers[1]["outputs"][name], values[0], atol=1e-6)
