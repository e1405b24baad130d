"""Run in a fresh process by test_objects.py: open compiled models, and say what they compute.

KERAS_BACKEND=torch python load_script.py FOLDER, of NAME.keras and NAME.npz with inputs and
targets. Keras is imported before kpairs.
"""

import sys
from pathlib import Path

import keras
import numpy as np

import kpairs


def main(folder):
    loaders = keras.saving.load_model, kpairs.load
    for number, file in enumerate(sorted(Path(folder).glob("*.keras"))):
        arrays = np.load(file.with_suffix(".npz"))
        x = {side: arrays[side] for side in ("left", "right")}
        y = {k.removeprefix("target_"): arrays[k] for k in arrays if k.startswith("target_")}
        model = loaders[number % 2](file)
        received = model.predict(x, verbose=0)
        received |= model.evaluate(x, y, verbose=0, return_dict=True)
        np.savez(file.with_suffix(".received.npz"), **received)
        if file.stem.startswith("objects"):
            model.fit(x, y, verbose=0)  # the optimizer goes on


if __name__ == "__main__":
    main(*sys.argv[1:])
