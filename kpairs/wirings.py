"""How two images meet: the only code here that knows a pair.

A tower is a list of Keras layers for one image (or for both as channels); `chain` applies it.
"""

from keras import ops


def chain(layers, x):
    """Apply Keras layers one after the other."""
    for layer in layers:
        x = layer(x)
    return x


def stacked(left, right):
    """Both images as channels of one: two of (batch, h, w, c) -> (batch, h, w, 2 c)."""
    return ops.concatenate([left, right], axis=-1)


def shared(tower, left, right):
    """Run one tower on both images in a single pass: the weights, and the call, are shared.

    The pair is folded into the batch, so this equals calling the tower on each image and joining
    the results, in one pass instead of two. (With batch normalisation it would not: each image's
    batch must then be normalised by itself.)

    Args:
        tower: layers from `(batch, h, w, c)` to `(batch, n)`.
        left, right: `(batch, h, w, c)`.

    Returns:
        `(batch, 2, n)`: index 0 of the second axis is the left image.
    """
    both = ops.stack([left, right], axis=1)
    features = chain(tower, ops.reshape(both, (-1, *left.shape[1:])))
    return ops.reshape(features, (-1, 2, *features.shape[1:]))
