"""Files that are no saved model get one line, and run no code."""

import zipfile

import keras
import pytest

import kpairs
from kpairs.errors import InputError


def test_files_that_are_no_model(workplace):
    (workplace / "text.keras").write_text("hello")
    (workplace / "model.h5").write_bytes(b"")
    with zipfile.ZipFile("empty.keras", "w") as archive:
        archive.writestr("a", "b")
    for name, message in (
        ("text.keras", "text.keras: expected a .keras file, received no zip archive"),
        ("empty.keras", "empty.keras: cannot be opened as a Keras model: "),
        ("none.keras", "none.keras: expected a .keras file, found none"),
        ("model.h5", "model.h5: expected a .keras file"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            kpairs.load(name)
        assert len(str(caught.value)) < 400


def test_code_in_a_file_is_not_run(workplace):
    inputs = keras.Input((1,))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)).save("lambda.keras")
    with pytest.raises(InputError, match="arbitrary code"):
        kpairs.load("lambda.keras")


def test_objects_that_are_not_registered_are_named(workplace):
    class Strange(keras.layers.Layer):
        def call(self, x):
            return x

    inputs = keras.Input((1,))
    keras.Model(inputs, Strange()(inputs)).save("strange.keras")
    with pytest.raises(InputError, match="Could not locate class 'Strange'") as caught:
        kpairs.load("strange.keras")
    assert "Full object config" not in str(caught.value)
