"""Folders of pictures and tables of them, as tests need them."""

import numpy as np
from PIL import Image


def write(folder, names, count=10, size=(12, 9), mode="L", ending="png", dark=False):
    """`count` pictures in each class folder: a random block on paper."""
    rng = np.random.default_rng(1)
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture = np.full((size[1], size[0], 3), 255 if dark else 0, np.uint8)
            picture[2:-2, 2:-2] = rng.integers(0, 256, 3)
            Image.fromarray(picture).convert(mode).save(folder / name / f"{i}.{ending}")
    return folder


def table(path, *lines):
    """A table of these lines."""
    path.write_text("\n".join(lines) + "\n")
    return path
