"""The page of `kpairs demo`: who is answered, what, and by what."""

import base64
import http.client
import io
import json
import re
import socket
import subprocess
import sys
from threading import Thread

import numpy as np
import pytest
from families import networks
from PIL import Image

from kpairs.errors import UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.web.browser import NothingRunsIt, PageModel
from kpairs.exports.web.graph import OPERATORS, graph_of
from kpairs.exports.web.page import page, script
from kpairs.exports.web.server import ADDRESS, MAX_BODY, DemoServer


@pytest.fixture(scope="module")
def server(exported):
    _, (onnx, *_), _ = exported("auxws")
    with DemoServer({"auxws": PairModel.load(onnx.path)}) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server, method, path, body=b"", **headers):
    """A request as the page sends it, but for the headers that are given; None leaves one out."""
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


def test_pictures_are_answered_as_by_predict(server, rng):
    sent, (left, right) = body(rng)
    status, received = ask(server, "POST", "/compare", sent)
    assert status == 200
    (answer,) = json.loads(received)["models"]
    expected = server.models["auxws"].predict(left, right)
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
        ({"Content_Length": "-1"}, 411),
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
    assert server.server_address[0] == "127.0.0.1"
    for address in {"127.0.0.2", *socket.gethostbyname_ex(socket.gethostname())[2]} - {ADDRESS}:
        with pytest.raises(OSError, match=r"refused|timed out|unreachable|assign"):
            socket.create_connection((address, server.port), timeout=5)


def test_there_is_one_page_and_it_asks_nobody_else(server):
    status, received = ask(server, "GET", "/", Origin=None)
    assert status == 200
    assert "connect-src &#39;self&#39;" in received.decode()
    assert not re.search(rb"(src|href)=", received)
    assert ask(server, "GET", "/../setup.py")[0] == 404
    assert ask(server, "POST", "/")[0] == 404


def test_the_server_needs_neither_keras_nor_torch():
    script = (
        "import sys, kpairs.cli.demo, kpairs.exports.web.server, kpairs.exports.web.standalone\n"
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
        (lambda node: setattr(node, "op_type", "Cos"), "received Cos"),
        (lambda node: node.attribute.add(name="group", i=2, type=2), "Conv: expected group=1"),
    ):
        other = type(proto).FromString(proto.SerializeToString())
        conv = next(node for node in other.graph.node if node.op_type == "Conv")
        del conv.attribute[:]
        change(conv)
        with pytest.raises(UsageError, match=said):
            graph_of(other)


@networks(("auxws", "posterior_s"))
def test_the_page_computes_what_onnxruntime_computes(name, exported, tmp_path):
    """By a browser, or node."""
    from kpairs.exports.web.standalone import standalone

    trained, (onnx, *_), pairs = exported(name)
    model = PairModel.load(onnx.path)
    file = tmp_path / "page.html"
    file.write_text(standalone(trained.proto(20), model, pairs))
    assert file.stat().st_size < 2e6
    inputs = [images[:10] for images in (pairs.left, pairs.right)]
    try:
        received = PageModel(file).run(*inputs)
    except NothingRunsIt as error:
        pytest.skip(str(error))
    for output, values in model.compare(*inputs).items():
        np.testing.assert_allclose(received[output], values, atol=1e-4)
