"""Rows of a matrix that stays in a file, and values by key in parts."""

import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpairs.data import parts as parts_module
from kpairs.data.parts import KEY, Parts
from kpairs.data.rows import Rows, blocks, moments
from kpairs.errors import CacheError


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_rows_are_those_of_an_array(data):
    """Reads, writes and choices agree with NumPy's, and another process gets an array."""
    count, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    known = np.arange(count * width, dtype=np.float32).reshape(count, width)
    rows = Rows((known[start : start + 5] for start in range(0, count, 5)), width)
    numbers = st.lists(st.integers(0, count - 1), max_size=9).map(lambda n: np.array(n, np.int64))
    for _ in range(3):
        chosen, new = data.draw(numbers), np.float32(data.draw(st.integers(-9, 9)))
        rows[chosen] = np.full((len(chosen), width), new)
        known[chosen] = new
        some = data.draw(numbers)
        np.testing.assert_array_equal(rows[some], known[some])
        np.testing.assert_array_equal(rows.take(some)[::-1], known[some][::-1])
        np.testing.assert_array_equal(rows.take(some).take(np.arange(len(some))), known[some])
    np.testing.assert_array_equal(rows[0], known[0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rows)), known)
    np.testing.assert_array_equal(np.concatenate(list(blocks(rows, 4))), known)
    for ours, numpys in zip(moments(rows), (known.mean(axis=0), known.std(axis=0)), strict=True):
        np.testing.assert_allclose(ours, numpys, rtol=1e-5, atol=1e-6)
    with pytest.raises(IndexError):
        rows[[count]]


@pytest.mark.skipif(sys.platform != "linux", reason="only there workers are forked")
def test_forked_workers_open_the_file():
    """They are sent its place, not the matrix, and read by an offset of their own."""
    known = np.random.default_rng(0).normal(size=(3000, 20)).astype(np.float32)
    rows, some = Rows([known], 20), np.arange(3000)[::-3]
    assert len(ForkingPickler.dumps(rows)) < 1000
    assert isinstance(ForkingPickler.loads(bytes(ForkingPickler.dumps(rows))), Rows)
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        read = pool.map(np.asarray, [rows.take(some)] * 4)
        for found in (*read, rows[some]):
            np.testing.assert_array_equal(found, known[some])


def test_rows_need_a_folder(tmp_path):
    with pytest.raises(CacheError, match="cannot keep features here"):
        Rows.zeros(2, 3, tmp_path / "none")


def test_many_parts_are_read_once_and_joined(tmp_path, monkeypatch):
    """However many were written, few remain; what is looked up block by block is read once."""
    monkeypatch.setattr(parts_module, "_MANY", 4)
    monkeypatch.setattr(parts_module, "_SMALL", 2000)
    value = np.dtype((np.float32, (3,)))
    keys = np.array([f"{n:016d}" for n in range(400)], f"S{KEY}")
    values = np.arange(1200, dtype=np.float32).reshape(-1, 3)
    writing = Parts(tmp_path / "features" / "one", value)
    with writing.held():
        for start in range(0, 400, 5):
            writing.add(keys[start : start + 5], values[start : start + 5])
    files = len(list(writing.folder.glob("*.npy")))
    assert files <= 4 + 400 * writing.table.itemsize / 2000

    read, reading = [], Parts(writing.folder, value)
    monkeypatch.setattr(
        reading, "_read", lambda file: read.append(file) or Parts._read(reading, file)
    )
    order = np.random.default_rng(0).permutation(400)
    unknown = np.array([b"x"], keys.dtype)
    for some in np.split(order, 40):
        found, known = reading.find(np.concatenate([keys[some], unknown]))
        np.testing.assert_array_equal(found[:-1], values[some])
        assert known.tolist() == [True] * len(some) + [False]
    monkeypatch.setattr(reading, "_read", lambda file: pytest.fail(f"{file} is read again"))
    for _ in range(40):
        reading.find(unknown)
    assert len(read) <= files + 40 * min(files, 10)
