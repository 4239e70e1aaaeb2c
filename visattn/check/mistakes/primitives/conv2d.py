"""What goes wrong in convolution."""

from visattn.check.changes import convention, equal, mistake

SIZES = "N, O, G, windows = len(x), len(w), groups, slide(x, w.shape[2:], stride, padding, dilation)"
WU = "wu = w.reshape(G, O // G, -1) @ u"
Y = "y[n] = wu.reshape(O, -1, *windows.count).swapaxes(0, 1)"
U = "u = np.stack(taps(pad(x.swapaxes(0, 1), windows), windows), axis=1)"
GROUPED = "return u.reshape(G, u.shape[0] * u.shape[1] // G, u[0, 0].size)"
DW = "dw += dwu @ u.swapaxes(1, 2)"
DU = "du = w.reshape(G, O // G, -1).swapaxes(1, 2) @ dwu"


def swapped(option):
    """The same with rows and columns of one option exchanged."""
    return f"{option} = {option}[::-1] if isinstance({option}, (tuple, list)) else {option}\n"


CHANGES = [
    mistake("stride_swapped", SIZES, swapped("stride") + SIZES,
            "The strides of rows and columns are exchanged: the first of the pair is that of the rows."),
    mistake("padding_swapped", SIZES, swapped("padding") + SIZES,
            "The paddings of rows and columns are exchanged: the first of the pair is that of the rows."),
    mistake("dilation_swapped", SIZES, swapped("dilation") + SIZES,
            "The dilations of rows and columns are exchanged: the first of the pair is that of the rows."),
    mistake("kernel_transposed", WU, "wu = w.swapaxes(2, 3).reshape(G, O // G, -1) @ u",
            "Rows and columns of the kernel are exchanged: w[o, c, k, l] weighs row k and column l of a window."),
    mistake("columns_in_another_order", WU,
            "wu = w.reshape(*w.shape[:2], -1).swapaxes(1, 2).reshape(G, O // G, -1) @ u",
            "Channels and taps of the columns come in another order than those of the weights: "
            "both run over c first, then k, then l."),
    mistake("batch_and_channels_mixed", Y, "y[n] = wu.reshape(-1, O, *windows.count)",
            "The product is reshaped to (N, O, Ho, Wo), although its first axis is that of the channels: "
            "reshape to (O, N, Ho, Wo), then exchange the axes. With one image it goes unnoticed."),
    mistake("bias_forgotten", "y += b[:, None, None]", "pass",
            "The bias is not added: y[o, i, j] = b[o] + Σ_ckl w[o, c, k, l] x[c, …]."),
    mistake("padded_behind_only", U,
            "p = windows.padding\n"
            "u = np.stack(taps(np.roll(pad(x.swapaxes(0, 1), windows), (-p[0], -p[1]), (-2, -1)), windows), axis=1)",
            "All padding lies below and to the right: p zeros belong on each of the four sides."),
    mistake("border_repeated", U,
            "(p, q), zero = windows.padding, (0, 0)\n"
            'image = np.pad(x.swapaxes(0, 1), (zero, zero, (p, p), (q, q)), mode="edge")\n'
            "u = np.stack(taps(image, windows), axis=1)",
            "The pixels at the border are repeated beyond it: x is 0 outside the image."),
    mistake("groups_interleaved", GROUPED,
            "u = u.reshape(u.shape[0] // G, G, *u.shape[1:]).swapaxes(0, 1)\n"
            "return u.reshape(G, u.shape[1] * u.shape[2], -1)",
            "Channel c goes to group c mod G: a group has channels that lie side by side, c // I."),
    mistake("overwritten", "tap += du[:, k]", "tap[...] = du[:, k]",
            "What the taps give to a pixel is overwritten, not added up: a pixel was seen by every tap, each time in "
            "another window."),
    mistake("dx_with_kernel_turned", DU, "du = w[:, :, ::-1, ::-1].reshape(G, O // G, -1).swapaxes(1, 2) @ dwu",
            "The kernel points the wrong way in dx: what a pixel gave through tap k comes back through tap k. "
            "Written as a convolution of dy, that is the kernel turned around once, not twice and not never."),
    mistake("padding_not_cut_off", "dx[n] = inside.swapaxes(0, 1)",
            "dx[n] = padded[..., :x.shape[2], :x.shape[3]].swapaxes(0, 1)",
            "dx is cut out of the padded gradient from its corner: the image begins p rows and columns further in."),
    mistake("dw_averaged", DW, "dw += dwu @ u.swapaxes(1, 2) / len(x)",
            "dw is a mean over the images: the weights serve them all, and their gradients add. "
            "A mean belongs in the loss."),
    mistake("db_over_the_batch_alone", "db = () if b is None else (dy.sum((0, 2, 3)),)",
            "db = () if b is None else (dy.sum(0).mean((1, 2)),)",
            "db is averaged over the pixels: the bias was added at every place of every image, db = Σ_nij dy."),
    convention("kernel_turned_around", SIZES, "w = w[:, :, ::-1, ::-1]\n" + SIZES,
               "The kernel is turned around: this is the convolution of mathematics. "
               "Libraries of deep learning, and this one, do not turn it (cross-correlation).",
               by="scipy.signal.convolve2d"),
    convention("same_padding_of_keras", U,
               "image, before = pad(x.swapaxes(0, 1), windows), []\n"
               "for H, K, s, p, d, n in zip(*windows, windows.count):\n"
               "    before.append(max((n - 1) * s + d * (K - 1) + 1 - H, 0) // 2 - p)\n"
               "u = np.stack(taps(np.roll(image, before, (-2, -1)), windows), axis=1)",
               "As much is padded as the windows need, and of an odd number the larger part below and to the right: "
               'padding="same". Here it is the same on all sides.', by="keras, TensorFlow"),
    equal("bias_first", f"{WU}\n{Y}\nif b is not None:\ny += b[:, None, None]", f"""
wu = w.reshape(G, O // G, -1)
if b is not None:
    wu, u = np.concatenate([b.reshape(G, -1, 1), wu], 2), np.concatenate([np.ones_like(u[:, :1]), u], 1)
wu = wu @ u
{Y}""", "A sum that starts from the bias is rounded to the size of the bias at every tap."),
]


def weights(rng, O, I, Kh, Kw):
    return rng.normal(size=(O, I, Kh, Kw)) / (I * Kh * Kw) ** 0.5, rng.normal(size=O)


def all_different(rng):
    """stride, padding and dilation differ between rows and columns, as do image and kernel: axes exchanged"""
    options = {"stride": (1, 2), "padding": (2, 1), "dilation": (2, 1)}
    return (rng.normal(size=(2, 3, 6, 7)), *weights(rng, 2, 3, 3, 4)), options


def stride_unseen_in_the_shape(rng):
    """strides that, exchanged, give an output of the same shape"""
    return (rng.normal(size=(1, 2, 6, 6)), *weights(rng, 2, 2, 3, 3)), {"stride": (2, 3)}


def padding_unseen_in_the_shape(rng):
    """paddings that, exchanged, give an output of the same shape"""
    return (rng.normal(size=(1, 2, 6, 6)), *weights(rng, 2, 2, 3, 3)), {"stride": 3, "padding": (1, 0)}


def dilation_unseen_in_the_shape(rng):
    """dilations that, exchanged, give an output of the same shape"""
    return (rng.normal(size=(1, 2, 8, 8)), *weights(rng, 2, 2, 3, 3)), {"stride": 3, "dilation": (1, 2)}


def groups_of_several(rng):
    """three groups of two channels, with two kernels each: which channel is in which group"""
    return (rng.normal(size=(2, 6, 4, 3)), *weights(rng, 6, 2, 2, 3)), {"groups": 3, "padding": 1}


def even_image_stride_two(rng):
    """an even image and stride 2: on which side more is padded"""
    return (rng.normal(size=(1, 2, 6, 8)), *weights(rng, 2, 2, 3, 3)), {"stride": 2, "padding": 1}


def one_by_one(rng):
    """a kernel of 1 × 1 without a bias: a linear map of the channels"""
    return (rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(4, 3, 1, 1))), {}


def pixels_left_over(rng):
    """a stride that leaves rows and columns that no window sees, and a padded image smaller than the kernel's reach"""
    return (rng.normal(size=(2, 2, 6, 5)), *weights(rng, 3, 2, 2, 3)), {"stride": (3, 2), "padding": (0, 1)}


CASES = [all_different, stride_unseen_in_the_shape, padding_unseen_in_the_shape, dilation_unseen_in_the_shape,
         groups_of_several, even_image_stride_two, one_by_one, pixels_left_over]

ALIASES = {"weight": "w", "kernel": "w", "bias": "b", "strides": "stride", "dilation_rate": "dilation"}
