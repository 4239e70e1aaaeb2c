"""What goes wrong in sampling at a grid."""

import numpy as np

from visattn.check.changes import convention, equal, mistake

U = "u, ug = _place(grid[..., 0], W, padding, align_corners)"
V = "v, vg = _place(grid[..., 1], H, padding, align_corners)"
I = "i = ((above + n + 1) * (W + 2))[:, None] + (m + 1)"
FORWARD_W = f"{I}\nw = ky[:, None] * kx"
Y = 'y = np.einsum("jknhw,jknhwc->nhwc", w, framed.reshape(-1, C).take(i, axis=0))'
BACKWARD_W = "C = dy.shape[1]\nw = ky[:, None] * kx"
SCATTER = "np.add.at(dframed[c].reshape(-1), i.reshape(-1), (w * dy[:, c]).reshape(-1))"
DW = 'dw = np.einsum("nhwc,jknhwc->jknhw", dy, framed.reshape(-1, C).take(i, axis=0))'
DK = "dkx = (dw * ky[:, None]).sum(0)\ndky = (dw * kx).sum(1)"
DGRID = "dgrid = np.stack([(dkx[1] - dkx[0]) * ug, (dky[1] - dky[0]) * vg], axis=-1)"
UNIT = "scale, shift = ((W - 1) / 2, 0) if align_corners else (W / 2, -0.5)"
PLACE = "u, ug = (g + 1) * scale + shift, np.full_like(g, scale)"
SPAN = "low, span = (0, max(W - 1, 1)) if align_corners else (-0.5, W)"
TURN = "r = np.mod(u - low, 2 * span)"
FOLD = "u, ug = low + span - abs(r - span), ug * np.sign(span - r)"
OUTSIDE = 'if padding != "zeros":'
CLIP = "u, ug = np.clip(u, 0, W - 1), ug * ((u > 0) & (u < W - 1))"
TAPS = "m = np.floor(u) + np.arange(2, dtype=u.dtype, like=u).reshape(2, 1, 1, 1)"
WEIGHTS = "k = np.stack([m[1] - u, u - m[0]])"

CHANGES = [
    # where a point is
    mistake("y_before_x", f"{U}\n{V}", f"{U.replace('0]', '1]')}\n{V.replace('1]', '0]')}",
            "The grid is read as (y, x). Its last axis is (x, y): the column first, then the row."),
    mistake("sizes_exchanged", f"{U}\n{V}", f"{U.replace(' W,', ' H,')}\n{V.replace(' H,', ' W,')}",
            "x is scaled by the height and y by the width; where H = W nobody sees it. x runs along W, y along H."),
    mistake("half_pixel_forgotten", UNIT, UNIT.replace("-0.5", "0"),
            "Everything is half a pixel off: without align_corners u = ((g + 1) W - 1) / 2, for -1 is the edge of the "
            "first pixel and its centre is at 0."),
    mistake("from_0_to_1", PLACE, "u, ug = g * 2 * scale + shift, np.full_like(g, 2 * scale)",
            "The grid is read as coordinates from 0 to 1. They run from -1 to 1: u = ((g + 1) W - 1) / 2."),
    mistake("in_pixels", PLACE, "u, ug = g + 0 * scale, np.ones_like(g)",
            "The grid is read as pixels. Its coordinates run from -1 to 1: u = ((g + 1) W - 1) / 2."),
    convention("corners_always_aligned", f"{U}\n{V}", f"{U}\n{V}".replace("align_corners", "True"),
               "±1 are the centres of the outermost pixels, whatever align_corners says: u = (g + 1)(W - 1) / 2.",
               by="Jaderberg et al., torch before 1.3"),
    convention("corners_never_aligned", f"{U}\n{V}", f"{U}\n{V}".replace("align_corners", "False"),
               "±1 are the edges of the image, whatever align_corners says: u = ((g + 1) W - 1) / 2.",
               by="torch where align_corners is not given"),
    mistake("truncated", TAPS, TAPS.replace("np.floor", "np.trunc"),
            "Coordinates are cut off towards zero, not down to ⌊u⌋: between -1 and 0 the pixels and their weights are "
            "wrong, one of them negative."),
    mistake("floor_for_nearest", "m = np.rint(u)[None]", "m = np.floor(u)[None]",
            "The nearest pixel is taken by rounding down. It is round(u): pixel m reaches from m - ½ to m + ½.",
            see="eq. (4)"),
    mistake("nearest_for_bilinear", 'if mode == "nearest":', "if True:",
            "Only the nearest pixel is read. Bilinear interpolation weighs four, and has a gradient for the grid.",
            see="eq. (5)"),

    # outside
    mistake("border_for_zeros", OUTSIDE, "if True:",
            "Outside the image its border is repeated. With padding by zeros there are zeros, and pixels at the edge "
            "fade into them."),
    mistake("zeros_for_border", OUTSIDE, 'if padding == "reflection":',
            "Outside the image there are zeros. With padding by the border its outermost pixels go on for ever."),
    mistake("border_for_reflection", 'if padding == "reflection":', "if False:",
            "Outside the image its border is repeated. It should be reflected: read from the edge backwards."),
    mistake("zeros_outside_the_edges", Y, f"""
w = w * (abs(grid) <= 1).all(-1) if padding == "zeros" else w
{Y}""",
            "A point outside ±1 gives zero. Within one pixel of the outermost centres it still sees them: what is zero "
            "is the pixels outside, not the points."),
    mistake("pixels_clipped_before_weights", TAPS, f"{TAPS.replace('m = ', 'm = np.clip(')}, 0, W - 1)",
            "The two pixels are clipped to the image before the weights are computed from them: at the edge both "
            "weights become 0, and beyond it they grow. Weights come from the unclipped ⌊u⌋."),
    mistake("reflected_at_centres", SPAN, "low, span = 0, max(W - 1, 1)",
            "The image is reflected at the centres of its outermost pixels. Without align_corners it is reflected at "
            "their outer edges, so that the last pixel comes twice."),
    mistake("reflected_at_edges", SPAN, "low, span = -0.5, W",
            "The image is reflected at the outer edges of its outermost pixels. With align_corners it is reflected at "
            "their centres."),
    mistake("wrapped", TURN, "r = np.mod(u - low, span)",
            "The image is repeated, not reflected: every second copy has to run backwards."),

    # weights
    mistake("weights_exchanged", WEIGHTS, "k = np.stack([u - m[0], m[1] - u])",
            "The two weights are exchanged: the nearer pixel counts more, 1 - |u - m|.", see="eq. (5)"),
    mistake("weights_transposed", FORWARD_W, f"{I}\nw = (ky[:, None] * kx).swapaxes(0, 1)",
            "Two of the four weights are exchanged: the pixel above right has that of the pixel below left."),
    mistake("weights_averaged", FORWARD_W, f"{I}\nw = (ky[:, None] + kx) / 2",
            "The weights of row and column are averaged. They are multiplied, so that the four sum to 1.",
            see="eq. (3)"),

    # backward
    mistake("scatter_overwrites", SCATTER,
            "dframed[c].reshape(-1)[i.reshape(-1)] += (w * dy[:, c]).reshape(-1)",
            "Where several points read one pixel, only the last one's gradient is left: indexing with repeated indices "
            "does not add. np.add.at does.", see="eq. (6)"),
    mistake("scatter_unweighted", BACKWARD_W, "C = dy.shape[1]\nw = np.ones_like(ky[:, None] * kx)",
            "dx lacks the weights: pixel nm gets Σ_p w_pnm dy_p.", see="eq. (6)"),
    mistake("outside_without_dx", BACKWARD_W, f"{BACKWARD_W} * (abs(grid) <= 1).all(-1)",
            "Points outside ±1 give no gradient to the image. They read pixels of its border, and these "
            "get their share."),
    mistake("dgrid_in_pixels", DGRID, DGRID.replace("ug", "np.sign(ug)").replace("vg", "np.sign(vg)"),
            "dgrid is counted in pixels: the chain rule's factor, W / 2 for x and H / 2 for y, is missing.",
            see="eq. (7)"),
    mistake("other_unit_in_dgrid", PLACE,
            "u, ug = (g + 1) * scale + shift, np.full_like(g, W / 2 if align_corners else (W - 1) / 2)",
            "The factor of dgrid belongs to the other align_corners: ∂u/∂g is W / 2 without it, (W - 1) / 2 with it."),
    mistake("factors_of_dgrid_exchanged", DGRID, DGRID.replace("ug", "og").replace("vg", "ug").replace("og", "vg"),
            "The factors of dgrid are exchanged: ∂u/∂x is W / 2, ∂v/∂y is H / 2. Where H = W nobody sees it."),
    mistake("dgrid_y_before_x", DGRID, DGRID.replace("axis=-1)", "axis=-1)[..., ::-1]"),
            "dgrid is given back as (dy, dx). The grid is (x, y)."),
    mistake("dgrid_negated", DGRID, "dgrid = np.stack([(dkx[0] - dkx[1]) * ug, (dky[0] - dky[1]) * vg], axis=-1)",
            "dgrid has the wrong sign: as u grows, the weight moves from the left pixel to the right one.",
            see="eq. (7)"),
    mistake("other_axis_forgotten", DK, "dkx = dw.sum(0)\ndky = dw.sum(1)",
            "dgrid lacks the weights of the other axis: the slope along x is a mean over both rows, weighted as in the "
            "image.", see="eq. (7)"),
    mistake("channels_averaged", DW, f"{DW} / C",
            "dgrid is averaged over the channels. One point reads all of them, and their gradients add.",
            see="eq. (7)"),
    mistake("clip_without_derivative", CLIP, "u, ug = np.clip(u, 0, W - 1), ug",
            "Points that are held at the border still pass a gradient. There y does not depend on them: zero."),
    mistake("reflection_without_sign", FOLD, "u, ug = low + span - abs(r - span), ug",
            "In a reflected copy the gradient has the wrong sign: there u falls as g grows."),

    # as good
    equal("interpolated_twice", Y, """
four = framed.reshape(-1, C).take(i, axis=0)
if len(kx) == 1:
    y = four[0, 0] * (ky * kx)[0, ..., None]
else:
    rows = four[:, 0] + kx[1][..., None] * (four[:, 1] - four[:, 0])
    y = rows[0] + ky[1][..., None] * (rows[1] - rows[0])"""),
    equal("rows_then_columns", Y, """
four = framed.reshape(-1, C).take(i, axis=0)
y = ((four * kx[..., None]).sum(1) * ky[..., None]).sum(0)"""),
    equal("multiplied_before_halved", PLACE,
          "u, ug = ((g + 1) * (2 * scale) + 2 * shift) / 2, np.full_like(g, scale)"),
    equal("from_the_middle", PLACE, "u, ug = g * scale + (scale + shift), np.full_like(g, scale)"),
    equal("difference_of_rows_first", DK, """
dkx = np.stack([0 * ky[0], (dw[0, 1] - dw[0, 0]) * ky[0] + (dw[1, 1] - dw[1, 0]) * ky[1]])
dky = np.stack([0 * kx[0], (dw[1, 0] - dw[0, 0]) * kx[0] + (dw[1, 1] - dw[0, 1]) * kx[1]])"""),
]

SIZES = {False: (4, 8), True: (3, 5)}   # H, W for which pixels and quarters of them have exact coordinates


def at(u, v, align_corners):
    """The grid whose points are at columns u and rows v, exactly."""
    H, W = SIZES[align_corners]
    return np.stack([2 * u / (W - 1) - 1, 2 * v / (H - 1) - 1] if align_corners else
                    [(2 * u + 1) / W - 1, (2 * v + 1) / H - 1], axis=-1)


def drawn(rng, align_corners, low=0, high=0, points=(3, 4), N=2, C=2, **options):
    """An image, and points at a quarter or three quarters between pixels, from cell `low`, 0 being the first, to `high`
    beyond the last.  Never half way: there is the mirror of a reflection, and the tie of the nearest."""
    H, W = SIZES[align_corners]
    shape = (N, *points)
    u = rng.integers(low, W - 1 + high, size=shape) + (1 + 2 * rng.integers(2, size=shape)) / 4
    v = rng.integers(low, H - 1 + high, size=shape) + (1 + 2 * rng.integers(2, size=shape)) / 4
    return (rng.normal(size=(N, C, H, W)), at(u, v, align_corners)), {"align_corners": align_corners, **options}


def on_pixels(rng, align_corners, **options):
    """An image, and points on its pixels, one step outside included."""
    H, W = SIZES[align_corners]
    u, v = rng.integers(-1, W + 1, size=(1, 4, 5)), rng.integers(-1, H + 1, size=(1, 4, 5))
    return (rng.normal(size=(1, 2, H, W)), at(u, v, align_corners)), {"align_corners": align_corners, **options}


def inside(rng):
    """points inside the image, between pixels: coordinates, their order, and weights"""
    return drawn(rng, False)


def inside_aligned(rng):
    """points inside the image with align_corners: what ±1 are"""
    return drawn(rng, True)


def around(rng):
    """points across the edges: zeros outside, that pixels at the edge fade into"""
    return drawn(rng, False, low=-2, high=2)


def around_aligned(rng):
    """points across the edges, zeros outside, align_corners"""
    return drawn(rng, True, low=-2, high=2)


def around_border(rng):
    """points across the edges, the border outside"""
    return drawn(rng, False, low=-2, high=2, padding="border")


def around_border_aligned(rng):
    """points across the edges, the border outside, align_corners"""
    return drawn(rng, True, low=-2, high=2, padding="border")


def around_reflection(rng):
    """points across the edges, reflections outside: where the mirror stands"""
    return drawn(rng, False, low=-3, high=3, padding="reflection")


def around_reflection_aligned(rng):
    """points across the edges, reflections outside, align_corners: where the mirror stands"""
    return drawn(rng, True, low=-3, high=3, padding="reflection")


def far_outside(rng):
    """points far from the image: nothing but zeros"""
    return drawn(rng, False, low=-20, high=20)


def far_outside_border(rng):
    """points far from the image: its border"""
    return drawn(rng, False, low=-20, high=20, padding="border")


def far_outside_reflection(rng):
    """points far from the image: reflections of reflections"""
    return drawn(rng, False, low=-20, high=20, padding="reflection")


def nearest(rng):
    """the nearest pixel, never half way between two"""
    return drawn(rng, False, low=-1, high=1, mode="nearest")


def nearest_aligned(rng):
    """the nearest pixel, with align_corners"""
    return drawn(rng, True, low=-1, high=1, mode="nearest")


def nearest_border(rng):
    """the nearest pixel, and the border outside"""
    return drawn(rng, False, low=-2, high=2, mode="nearest", padding="border")


def crowded(rng):
    """many points in one cell: gradients that have to add"""
    (x, _), options = drawn(rng, False, N=1)
    v, u = np.meshgrid(np.arange(1, 4) / 4, np.arange(1, 4) / 4, indexing="ij")
    return (x, at(3 + u, 1 + v, False)[None]), options


def one_point(rng):
    """a single point and a single channel"""
    return drawn(rng, False, points=(1, 1), N=1, C=1)


def identity(rng):
    """every pixel read where it is: the image itself; on kinks, where the derivative is that from the right"""
    v, u = np.meshgrid(np.arange(4.0), np.arange(8.0), indexing="ij")
    return (rng.normal(size=(2, 3, 4, 8)), np.stack([at(u, v, False)] * 2)), {"align_corners": False}


def on_kinks(rng):
    """points on pixels, zeros outside: the derivative there is that from the right"""
    return on_pixels(rng, False)


def on_kinks_border(rng):
    """points on pixels, the border outside: on the outermost ones the derivative is zero"""
    return on_pixels(rng, False, padding="border")


def on_kinks_reflection(rng):
    """points on pixels, reflections outside: on the outermost ones the derivative is zero"""
    return on_pixels(rng, True, padding="reflection")


def one_pixel(rng):
    """an image of a single pixel, whose outermost centres are one"""
    x, grid = rng.normal(size=(2, 3, 1, 1)), rng.integers(-3, 4, size=(2, 2, 3, 2)) / 4 + 1 / 8
    return (x, grid), {"align_corners": False}


CASES = [inside, inside_aligned, around, around_aligned, around_border, around_border_aligned, around_reflection,
         around_reflection_aligned, far_outside, far_outside_border, far_outside_reflection, nearest, nearest_aligned,
         nearest_border, crowded, one_point, identity, on_kinks, on_kinks_border, on_kinks_reflection, one_pixel]
