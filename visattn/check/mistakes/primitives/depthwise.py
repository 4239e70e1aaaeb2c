"""What goes wrong in depthwise convolution."""

from visattn.check.changes import convention, equal, mistake
from visattn.check.mistakes.primitives.conv2d import swapped

WINDOWS = "windows = slide(x, w.shape[1:], stride, padding, dilation)"
Y = "y += wk[:, k] * tap"
DX = "tap += wk[:, k] * dy"
DW = 'dw = [np.einsum("ncij,ncij->c", dy, tap) for tap in taps(pad(x, windows), windows)]'
ZEROS = "y = np.zeros((*x.shape[:2], *windows.count), dtype=x.dtype, like=x)"
TAPS = "for k, tap in enumerate(taps(pad(x, windows), windows)):"

CHANGES = [
    mistake("stride_swapped", WINDOWS, swapped("stride") + WINDOWS,
            "The strides of rows and columns are exchanged: the first of the pair is that of the rows."),
    mistake("padding_swapped", WINDOWS, swapped("padding") + WINDOWS,
            "The paddings of rows and columns are exchanged: the first of the pair is that of the rows."),
    mistake("dilation_swapped", WINDOWS, swapped("dilation") + WINDOWS,
            "The dilations of rows and columns are exchanged: the first of the pair is that of the rows."),
    mistake("kernel_transposed", Y, "y += w.swapaxes(1, 2).reshape(len(w), -1, 1, 1)[:, k] * tap",
            "Rows and columns of the kernel are exchanged: w[c, k, l] weighs row k and column l of a window."),
    mistake("bias_forgotten", "y += b[:, None, None]", "pass",
            "The bias is not added: y[c, i, j] = b[c] + Σ_kl w[c, k, l] x[c, …]."),
    mistake("padded_behind_only", TAPS,
            "p, q = windows.padding\n"
            "for k, tap in enumerate(taps(np.roll(pad(x, windows), (-p, -q), (-2, -1)), windows)):",
            "All padding lies below and to the right: p zeros belong on each of the four sides."),
    mistake("one_kernel_for_all", Y, "y += wk[:1, k] * tap",
            "The kernel of the first channel serves all: every channel has one of its own."),
    mistake("overwritten", DX, "tap[...] = wk[:, k] * dy",
            "What the taps give to a pixel is overwritten, not added up: a pixel was seen by every tap, each time in "
            "another "
            "window."),
    mistake("dx_with_kernel_turned", DX, "tap += wk[:, -1 - k] * dy",
            "The kernel points the wrong way in dx: what a pixel gave through tap k comes back through tap k. "
            "Written as a convolution of dy, that is the kernel turned around once, not twice and not never."),
    mistake("dw_averaged", DW, DW.replace("dy, tap)", "dy / len(x), tap)"),
            "dw is a mean over the images: the weights serve them all, and their gradients add. "
            "A mean belongs in the loss."),
    mistake("dw_of_all_channels", DW,
            'dw = [np.einsum("ncij,ndij->c", dy, tap) for tap in taps(pad(x, windows), windows)]',
            "dw of a channel has the images of all channels in it: no channel sees another, "
            "dw_ck = Σ_nij dy_nc ⊙ x_nc(k)."),
    convention("kernel_turned_around", WINDOWS, "w = w[:, ::-1, ::-1]\n" + WINDOWS,
               "The kernel is turned around: this is the convolution of mathematics. "
               "Libraries of deep learning, and this one, do not turn it (cross-correlation).",
               by="scipy.signal.convolve2d"),
    equal("bias_first", ZEROS + "\n" + TAPS + "\n" + Y + "\nif b is not None:\ny += b[:, None, None]",
          ZEROS + "\nif b is not None:\n    y += b[:, None, None]\n" + TAPS + "\n    " + Y,
          "A sum that starts from the bias is rounded to the size of the bias at every tap."),
    equal("in_groups_of_one", Y, 'y += np.einsum("c,ncij->ncij", wk[:, k, 0, 0], tap)',
          "A convolution with as many groups as channels is a product of matrices: its operands may be rounded."),
    equal("dx_in_groups_of_one", DX, 'tap += np.einsum("c,ncij->ncij", wk[:, k, 0, 0], dy)'),
]


def weights(rng, C, Kh, Kw):
    return rng.normal(size=(C, Kh, Kw)) / (Kh * Kw) ** 0.5, rng.normal(size=C)


def all_different(rng):
    """stride, padding and dilation differ between rows and columns, as do image and kernel: axes exchanged"""
    options = {"stride": (1, 2), "padding": (2, 1), "dilation": (2, 1)}
    return (rng.normal(size=(2, 3, 6, 7)), *weights(rng, 3, 3, 4)), options


def stride_unseen_in_the_shape(rng):
    """strides that, exchanged, give an output of the same shape"""
    return (rng.normal(size=(1, 3, 6, 6)), *weights(rng, 3, 3, 3)), {"stride": (2, 3)}


def padding_unseen_in_the_shape(rng):
    """paddings that, exchanged, give an output of the same shape"""
    return (rng.normal(size=(1, 3, 6, 6)), *weights(rng, 3, 3, 3)), {"stride": 3, "padding": (1, 0)}


def dilation_unseen_in_the_shape(rng):
    """dilations that, exchanged, give an output of the same shape"""
    return (rng.normal(size=(1, 3, 8, 8)), *weights(rng, 3, 3, 3)), {"stride": 3, "dilation": (1, 2)}


def one_tap(rng):
    """a kernel of 1 × 1 without a bias: a factor for each channel"""
    return (rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(3, 1, 1))), {}


def pixels_left_over(rng):
    """a stride that leaves rows and columns that no window sees; one channel"""
    return (rng.normal(size=(2, 1, 6, 5)), *weights(rng, 1, 2, 3)), {"stride": (3, 2), "padding": (0, 1)}


CASES = [all_different, stride_unseen_in_the_shape, padding_unseen_in_the_shape, dilation_unseen_in_the_shape, one_tap,
         pixels_left_over]

ALIASES = {"weight": "w", "kernel": "w", "bias": "b", "strides": "stride", "dilation_rate": "dilation"}
