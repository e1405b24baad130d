"""Arguments that `score` and `next-pairs` share: tables of judgements, images, features."""

import os

from kpairs.cli.options import option
from kpairs.errors import InputError, UsageError

# Before numpy is imported: the threads of BLAS make small matrices slower, ten times and more where
# other programs run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

features = option(
    "--features",
    default="images",
    metavar="images|none|FILE.npy",
    help="Numbers by which judgements of some images tell of others: computed from images, none, "
    "or of a file with one row per image, in the order of their paths.",
)


def read_arguments(arguments, *, columns, words, images, group, skip_missing):
    """Return the judgements and images that arguments stand for, the models, and the tables' names.

    Arguments are tables of judgements, .onnx files, and images as `find_images` takes them.
    """
    from kpairs.data.vectors import are_vectors, read_vectors
    from kpairs.exports.runtime import PairModel
    from kpairs.exports.runtime.sources import find_images
    from kpairs.judging import Judgements

    models = [name for name in arguments if name.lower().endswith(".onnx")]
    tables = [name for name in arguments if _is_judged(name, columns)]
    rest = [name for name in arguments if name not in models and name not in tables]
    files = find_images(rest, columns) if rest else []
    if images is not None and are_vectors(images):  # every row is ranked
        if rest or models:
            raise UsageError("--images: expected no images or models beside a file of features")
        files = read_vectors(images).names
    how = {"columns": columns, "words": words, "images": images, "group": group}
    how["skip_missing"] = bool(skip_missing)
    return Judgements.read(tables, files, **how), [PairModel.load(name) for name in models], tables


def _is_judged(name, columns):
    """Return whether an argument is a table that says who ranks higher."""
    from kpairs.data.columns import JUDGEMENTS
    from kpairs.data.table import is_table, read_table

    if not is_table(name):
        return False
    header = next(read_table(name, "pairs"))[1]
    return any(
        header.find((columns or {}).get(one, one)) is not None for one in (*JUDGEMENTS, "loser")
    )


def find_features(name, models, files, progress, white, images=None):
    """Return prepared features of the files: of models, of the images, or of a file; or None."""
    import numpy as np

    from kpairs.data.vectors import are_vectors, read_vectors
    from kpairs.judging import prepare_features

    if models:
        from kpairs.exports.runtime.ranking import rank

        scores = [rank([model], files, progress).score for model in models]
        return prepare_features(np.stack(scores, axis=1))
    if name == "none":
        return None
    if name == "images" and images is not None and are_vectors(images):
        vectors = read_vectors(images)
        return prepare_features(vectors.values.take(vectors.rows(files)))
    if name == "images":
        from kpairs.exports.features import file_features

        return prepare_features(file_features(files, progress, white=white))
    try:
        rows = np.load(name, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name}: expected images, none, or a .npy file with one row of numbers per image"
        ) from error
    if len(rows) != len(files):
        raise InputError(
            f"{name}: expected a row for each of {len(files)} images, received {len(rows)}"
        )
    return prepare_features(rows[np.argsort(np.argsort(np.array(files)))])
