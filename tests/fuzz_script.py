"""Run by test_runtime.py in a process of its own, so that a crash is seen as one.

python fuzz_script.py FILE.onnx COUNT SEED

Loads COUNT damaged copies of an exported file, which must all be refused, then COUNT // 2 with a
new seal, as somebody would make who means harm: those may run, but nothing may crash, hang or raise
anything else than InputError.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from kpairs.errors import InputError
from kpairs.exports.runtime import PairModel
from kpairs.exports.runtime.loading import seal


def damaged(data, rng):
    """A copy with damage: flipped bits, other bytes, an end cut off, a piece twice or gone."""
    copy, at = bytearray(data), int(rng.integers(len(data)))
    end = at + int(rng.integers(1, 64))
    kind = rng.integers(6)
    if kind == 0:
        copy[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        copy[at:end] = rng.bytes(len(copy[at:end]))
    elif kind == 2:
        del copy[at:]
    elif kind == 3:
        copy[at:at] = copy[at:end]
    elif kind == 4:
        del copy[at:end]
    else:
        for place in rng.integers(len(data), size=20):
            copy[place] ^= 1 << int(rng.integers(8))
    return bytes(copy)


def load(path, data):
    """Whether a model made of these bytes is refused; otherwise it is run."""
    path.write_bytes(data)
    image = np.zeros((2, 14, 14, 1), np.float32)
    try:
        PairModel.load(path).predict(image, image)
    except InputError:
        return True
    return False


def main(file, count, seed):
    data, rng = Path(file).read_bytes(), np.random.default_rng(int(seed))
    body = data[: len(data) - len(seal(b""))]
    assert seal(body) == data
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        assert not load(path, data)
        accepted = 0
        for _ in range(int(count)):
            copy = damaged(data, rng)
            accepted += copy != data and not load(path, copy)
        refused = sum(load(path, seal(damaged(body, rng))) for _ in range(int(count) // 2))
    print(f"{accepted} accepted, {refused} of {int(count) // 2} refused with a new seal")


if __name__ == "__main__":
    main(*sys.argv[1:])
