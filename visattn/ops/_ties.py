"""The largest along an axis, and where its gradient goes when several are equally large.

    ties="first"    to the first of them: PyTorch's max over an axis, and its pooling
    ties="even"     to each an equal part: PyTorch's amax

After a ReLU this is the normal case: zeros only are one tie.  A NaN is larger than any number.
"""

import numpy as np


def largest(x, axis, ties):
    """(y, wins): the maximum, without that axis, and which elements of x take part in its gradient."""
    y = x.max(axis)
    if ties == "even":
        return y, (x == np.expand_dims(y, axis)) | np.isnan(x)
    place = np.arange(x.shape[axis], like=x).reshape((-1,) + (1,) * (x.ndim - 1 - axis))
    return y, place == np.expand_dims(x.argmax(axis), axis)


def share(dy, wins, axis):
    """dx = dy / (number of winners) where an element wins, 0 elsewhere."""
    each = dy / wins.sum(axis, dtype=dy.dtype)
    return np.where(wins, np.expand_dims(each, axis), 0)
