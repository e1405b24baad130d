"""The backend of Keras: torch, unless the user chose another."""

import os
import sys
import warnings


def choose_backend() -> None:
    """Settle Keras' backend before Keras is imported.

    Keras reads its backend once, at import, from KERAS_BACKEND or keras.json; its own default is
    tensorflow, which kpairs does not install. There is no other door: kpairs therefore writes the
    environment, which worker processes inherit too. (A hook into Python's imports could wait until
    Keras is imported; it would change the imports of the whole process, for one variable.)
    """
    chosen = os.environ.get("KERAS_BACKEND") or _configured()
    keras = sys.modules.get("keras")
    if keras is not None:
        running = keras.config.backend()
        if not chosen and running != "torch":
            warnings.warn(
                f"Keras was imported before kpairs and runs on {running}, its own default; for "
                "torch, import kpairs first or set KERAS_BACKEND=torch.",
                stacklevel=3,
            )
        chosen = running
    os.environ["KERAS_BACKEND"] = chosen or "torch"


def _configured() -> str | None:
    """Return the backend that the user wrote into keras.json, or None.

    Keras itself writes that file with "tensorflow" in it, which is therefore no choice.
    """
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        with open(os.path.join(home, "keras.json"), encoding="utf-8") as file:
            import json

            backend = json.load(file)["backend"]
    except (OSError, ValueError, KeyError, TypeError):  # Keras says what is wrong with it
        return None
    return backend if isinstance(backend, str) and backend != "tensorflow" else None
