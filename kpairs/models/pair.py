"""How two images meet: the only code here that knows a pair.

A tower is a list of Keras layers for one image (or for both as channels); `chain` applies it.
"""

from contextlib import contextmanager
from contextvars import ContextVar

from keras import ops

_ONE_PASS = ContextVar("one_pass", default=False)


def chain(layers, x):
    """Apply Keras layers one after the other."""
    for layer in layers:
        x = layer(x)
    return x


def stacked(left, right):
    """Both images as channels of one: two of (batch, h, w, c) -> (batch, h, w, 2 c)."""
    return ops.concatenate([left, right], axis=-1)


def separate(left_tower, right_tower, left, right):
    """Run a tower of its own on each image: nothing is shared. Arguments and result as `shared`."""
    return ops.stack([chain(left_tower, left), chain(right_tower, right)], axis=1)


def shared(tower, left, right):
    """Run one tower on both images in a single pass: the weights, and the call, are shared.

    The pair is folded into the batch, so this equals calling the tower on each image and joining
    the results, in one pass instead of two. With batch normalisation it does not: see
    `shared_one_by_one`.

    Args:
        tower: layers from `(batch, h, w, c)` to `(batch, n)`.
        left, right: `(batch, h, w, c)`.

    Returns:
        `(batch, 2, n)`: index 0 of the second axis is the left image.
    """
    both = ops.stack([left, right], axis=1)
    features = chain(tower, ops.reshape(both, (-1, *left.shape[1:])))
    return ops.reshape(features, (-1, 2, *features.shape[1:]))


def shared_one_by_one(tower, left, right):
    """Run one tower on the left, then on the right image. Arguments and result as `shared`.

    With batch normalisation each image's batch is then normalised by its own statistics, and the
    moving statistics are updated twice per step, as in the reports; folded into one batch, the
    two images would share them.
    """
    if _ONE_PASS.get():
        return shared(tower, left, right)
    return separate(tower, tower, left, right)


@contextmanager
def one_pass():
    """Within the block, `shared_one_by_one` is `shared`: for models that are not trained.

    In inference batch normalisation uses its moving statistics, and both give the same.
    """
    token = _ONE_PASS.set(True)
    try:
        yield
    finally:
        _ONE_PASS.reset(token)


def joined(features):
    """Put both images' features side by side: (batch, 2, n) -> (batch, 2 n), left first."""
    return ops.reshape(features, (-1, 2 * features.shape[-1]))


def by_side(features):
    """The digit outputs of (batch, 2, n) scores: n for each image."""
    return {"left_digit": features[:, 0], "right_digit": features[:, 1]}
