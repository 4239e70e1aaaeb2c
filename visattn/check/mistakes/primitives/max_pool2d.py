"""What goes wrong in max pooling."""

from visattn.check.changes import convention, mistake
from visattn.check.mistakes.primitives.conv2d import swapped
from visattn.check.mistakes.primitives.global_max_pool2d import spread

WINDOWS = "windows = slide(x, kernel, kernel if stride is None else stride, padding)"
FIRST = 'if ties == "first":'
ADD = "tap += np.where(win, share, 0)"

CHANGES = [
    mistake("stride_swapped", WINDOWS, swapped("stride") + WINDOWS,
            "The strides of rows and columns are exchanged: the first of the pair is that of the rows."),
    mistake("padding_swapped", WINDOWS, swapped("padding") + WINDOWS,
            "The paddings of rows and columns are exchanged: the first of the pair is that of the rows."),
    mistake("kernel_swapped", WINDOWS, swapped("kernel") + WINDOWS,
            "The window's rows and columns are exchanged: the first of the pair is the number of rows."),
    mistake("stride_of_one", WINDOWS, "windows = slide(x, kernel, 1 if stride is None else stride, padding)",
            "Without a stride the windows move by one pixel: they lie side by side, the stride is the kernel."),
    mistake("padded_with_zeros", "pixels = taps(pad(x, windows, -np.inf), windows)",
            "pixels = taps(pad(x, windows), windows)",
            "The padding is 0, and wins where all pixels of a window are negative: x is -∞ outside the image."),
    mistake("last_of_equals", "for win in wins:", "for win in wins[::-1]:",
            "Of several equally large pixels the last takes the gradient, as with ≥ in the comparison: "
            "it is the first in reading order."),
    mistake("overwritten", ADD, "tap[...] = np.where(win, share, tap)",
            "A pixel that wins several windows keeps what the last of them gives: where windows overlap, the "
            "gradients add."),
    mistake("gradient_to_all", ADD, "tap += dy / len(wins)",
            "The gradient is spread over the window, as of a mean: the pixel that wins takes all of it."),
    mistake("whole_gradient_to_each", "share = dy / wins.sum(0, dtype=dy.dtype)", "share = dy",
            "Each of several equally large pixels takes the whole gradient: they share it, or the first takes it."),
    convention("ties_first", FIRST, "if True:",
               'The first of equally large pixels takes the whole gradient, also where ties="even" asks for equal '
               'parts.',
               by="torch"),
    convention("ties_even", FIRST, "if False:",
               "Equally large pixels share the gradient, also where the first should take it.",
               by="torch.amax over unfolded windows"),
]


def all_different(rng):
    """kernel, stride and padding differ between rows and columns: axes exchanged"""
    return (spread(rng, (2, 3, 6, 7)),), {"kernel": (4, 3), "stride": (1, 2), "padding": (2, 1)}


def stride_unseen_in_the_shape(rng):
    """strides that, exchanged, give an output of the same shape"""
    return (spread(rng, (1, 3, 6, 6)),), {"kernel": 3, "stride": (2, 3)}


def padding_unseen_in_the_shape(rng):
    """paddings that, exchanged, give an output of the same shape"""
    return (spread(rng, (1, 3, 6, 6)),), {"kernel": 3, "stride": 3, "padding": (1, 0)}


def side_by_side(rng):
    """no stride, and pixels left over at the end"""
    return (spread(rng, (2, 2, 7, 5)),), {"kernel": (2, 3)}


def all_negative(rng):
    """negative pixels and a padding: one that is 0 would win"""
    return (spread(rng, (2, 2, 5, 4)) - 5,), {"kernel": 3, "stride": 1, "padding": 1}


def ties_first(rng):
    """windows with several equally large pixels: the first takes the gradient"""
    return (_tied(rng),), {"kernel": 3, "stride": 2, "padding": 1, "ties": "first"}


def ties_even(rng):
    """windows with several equally large pixels: they share the gradient"""
    return (_tied(rng),), {"kernel": 3, "stride": 2, "padding": 1, "ties": "even"}


def _tied(rng):
    x = rng.integers(0, 2, size=(2, 2, 5, 6)) * 1.0
    x[0, 0] = 0
    return x


CASES = [all_different, stride_unseen_in_the_shape, padding_unseen_in_the_shape, side_by_side, all_negative,
         ties_first, ties_even]

ALIASES = {"kernel_size": "kernel", "pool_size": "kernel", "strides": "stride"}
