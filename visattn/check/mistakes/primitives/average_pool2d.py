"""What goes wrong in average pooling."""

from visattn.check.changes import convention, mistake
from visattn.check.mistakes.primitives.conv2d import swapped

WINDOWS = "windows = slide(x, kernel, kernel if stride is None else stride, padding)"
AREA = "area = reduce(np.add, taps(pad(ones, windows, 1 if count_include_pad else 0), windows))"
Y = "y = reduce(np.add, taps(pad(x, windows), windows)) / area"

CHANGES = [
    mistake("stride_swapped", WINDOWS, swapped("stride") + WINDOWS,
            "The strides of rows and columns are exchanged: the first of the pair is that of the rows."),
    mistake("padding_swapped", WINDOWS, swapped("padding") + WINDOWS,
            "The paddings of rows and columns are exchanged: the first of the pair is that of the rows."),
    mistake("kernel_swapped", WINDOWS, swapped("kernel") + WINDOWS,
            "The window's rows and columns are exchanged: the first of the pair is the number of rows."),
    mistake("stride_of_one", WINDOWS, "windows = slide(x, kernel, 1 if stride is None else stride, padding)",
            "Without a stride the windows move by one pixel: they lie side by side, the stride is the kernel."),
    mistake("padding_always_counted", AREA, "area = reduce(np.add, taps(pad(ones, windows, 1), windows))",
            "The padding counts as pixels although count_include_pad=False asks for those of the image alone."),
    mistake("not_divided", Y, "y = reduce(np.add, taps(pad(x, windows), windows))",
            "The windows are summed: their mean divides by the area a of each."),
    mistake("gradient_not_divided", "share = dy / area", "share = dy * 1",
            "Each tap gets the whole gradient of its window: it had a share of 1 / a in the mean."),
    mistake("gradient_divided_by_the_kernel", "share = dy / area",
            "share = dy / (windows.kernel[0] * windows.kernel[1])",
            "The gradient is divided by the size of the kernel: at the border a window may have fewer pixels, dy / a."),
    mistake("overwritten", "tap += share", "tap[...] = share",
            "A pixel keeps what the last of its windows gives: where windows overlap, the gradients add."),
    convention("padding_not_counted", AREA, "area = reduce(np.add, taps(pad(ones, windows, 0), windows))",
               "Only pixels of the image count, whatever count_include_pad says; here the padding counts unless it is "
               "False.", by='keras with padding="same", TensorFlow, ONNX'),
]


def all_different(rng):
    """kernel, stride and padding differ between rows and columns: axes exchanged"""
    return (rng.normal(1, 1, size=(2, 3, 6, 7)),), {"kernel": (4, 3), "stride": (1, 2), "padding": (2, 1)}


def stride_unseen_in_the_shape(rng):
    """strides that, exchanged, give an output of the same shape"""
    return (rng.normal(size=(1, 3, 6, 6)),), {"kernel": 3, "stride": (2, 3)}


def padding_unseen_in_the_shape(rng):
    """paddings that, exchanged, give an output of the same shape"""
    return (rng.normal(size=(1, 3, 6, 6)),), {"kernel": 3, "stride": 3, "padding": (1, 0)}


def side_by_side(rng):
    """no stride, and pixels left over at the end"""
    return (rng.normal(size=(2, 2, 7, 5)),), {"kernel": (2, 3)}


def padding_uncounted(rng):
    """the padding does not count, and windows overlap"""
    options = {"kernel": 3, "stride": 1, "padding": 1, "count_include_pad": False}
    return (rng.normal(1, 1, size=(1, 2, 4, 5)),), options


CASES = [all_different, stride_unseen_in_the_shape, padding_unseen_in_the_shape, side_by_side, padding_uncounted]

ALIASES = {"kernel_size": "kernel", "pool_size": "kernel", "strides": "stride"}
