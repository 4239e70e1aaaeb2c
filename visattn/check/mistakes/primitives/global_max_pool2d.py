"""What goes wrong in global max pooling."""

import numpy as np

from visattn.check.changes import convention, mistake

LARGEST = "y, wins = largest(x.reshape(N, C, H * W), 2, ties)"
DX = "return (share(dy, wins, axis=(2, 3)),)"

CHANGES = [
    mistake("from_zero_on", LARGEST, LARGEST + "\ny = y * (y > 0)",
            "The maximum starts from 0, so a channel of negative pixels gives 0: start from -∞, or from the first "
            "pixel."),
    mistake("largest_by_size", LARGEST, "_, wins = largest(abs(x).reshape(N, C, H * W), 2, ties)\n"
            "y = (x.reshape(N, C, H * W) * wins).sum(2) / wins.sum(2, dtype=x.dtype)",
            "The pixel of largest size is taken, whatever its sign: y = max_hw x."),
    mistake("gradient_to_all", DX, "return ((dy / wins[0, 0].size)[:, :, None, None] * (wins | True),)",
            "The gradient is spread over all pixels, as of a mean: the largest pixel takes all of it."),
    mistake("whole_gradient_to_each", DX, "return (wins * dy[:, :, None, None],)",
            "Each of several equally large pixels takes the whole gradient: they share it, or the first takes it."),
    convention("ties_first", LARGEST, 'y, wins = largest(x.reshape(N, C, H * W), 2, "first")',
               'The first of equally large pixels takes the whole gradient, also where ties="even" asks for equal '
               'parts.',
               by="torch: pooling, and max over an axis", see="lesson 2"),
    convention("ties_even", LARGEST, 'y, wins = largest(x.reshape(N, C, H * W), 2, "even")',
               "Equally large pixels share the gradient, also where the first should take it.",
               by="torch.amax, jax.numpy.max, timm", see="lesson 2"),
]


def spread(rng, shape):
    """Numbers that are all different, also after rounding to eight bits; about ±3."""
    size = int(np.prod(shape))
    return (rng.permutation(size).reshape(shape) - size // 2 + 0.25) / (size / 6)


def all_negative(rng):
    """channels whose pixels are all negative: a maximum that starts from 0"""
    return (spread(rng, (2, 3, 5, 3)) - 5,), {}


def ties_first(rng):
    """several equally large pixels, and channels of zeros: the first takes the gradient"""
    return (_tied(rng),), {"ties": "first"}


def ties_even(rng):
    """several equally large pixels, and channels of zeros: they share the gradient"""
    return (_tied(rng),), {"ties": "even"}


def _tied(rng):
    x = rng.integers(0, 3, size=(2, 4, 3, 4)) * 1.0
    x[0, 1] = x[1, 2] = 0
    return x


def one_pixel(rng):
    """images of one pixel"""
    return (spread(rng, (3, 4, 1, 1)),), {}


CASES = [all_negative, ties_first, ties_even, one_pixel]
