"""What goes wrong in affine grids."""

import numpy as np

from visattn.check.changes import convention, equal, mistake

TARGET = "target = np.stack([*np.broadcast_arrays(x, y[:, None]), np.ones_like(x + y[:, None])], axis=-1)"
GRID = 'grid = np.einsum("hwj,nij->nhwi", target, theta)'
DTHETA = 'dtheta = np.einsum("nhwi,hwj->nij", dgrid, target)'
CENTRES = "return 2 * j / max(n - 1, 1) - (n > 1) if align_corners else (2 * j + 1) / n - 1"

CHANGES = [
    mistake("theta_transposed", GRID, """
turned = np.concatenate([theta[:, :, :2].swapaxes(1, 2), theta[:, :, 2:]], axis=2)
grid = np.einsum("hwj,nij->nhwi", target, turned)""",
            "The square part of θ is transposed: source x = a x + b y + c, with the first row of θ.", see="eq. (1)"),
    mistake("rows_exchanged", GRID, 'grid = np.einsum("hwj,nij->nhwi", target, theta[:, ::-1])',
            "The grid is given back as (y, x). Its last axis is (x, y), the first row of θ first.", see="eq. (1)"),
    mistake("y_before_x", TARGET, TARGET.replace("(x, y[:, None])", "(y[:, None], x)"),
            "θ is applied to (y, x, 1). It is applied to (x, y, 1): x runs along the columns.", see="eq. (1)"),
    mistake("both_orders_exchanged", f"{TARGET}\n{GRID}", f"""
{TARGET.replace("(x, y[:, None])", "(y[:, None], x)")}
grid = np.einsum("hwj,nij->nhwi", target, theta)[..., ::-1]""",
            "θ takes and gives (y, x). Its first row and its first column belong to x.", see="eq. (1)"),
    mistake("no_translation", TARGET, TARGET.replace("np.ones_like", "np.zeros_like"),
            "The last column of θ, the translation, has no effect: the points are (x, y, 1).", see="eq. (1)"),
    mistake("translation_per_pixel", TARGET, TARGET.replace("np.ones_like(x + y[:, None])", "x + y[:, None]"),
            "The last column of θ is multiplied by coordinates. It is added as it is: the points are (x, y, 1).",
            see="eq. (1)"),
    mistake("edges_for_centres", CENTRES, CENTRES.replace("(2 * j + 1)", "2 * j"),
            "The points are the left and upper edges of the pixels. They are the centres: (2j + 1) / W - 1."),
    mistake("from_0_to_1", CENTRES, "return j / max(n - 1, 1) if align_corners else (2 * j + 1) / (2 * n)",
            "The coordinates run from 0 to 1. They run from -1 to 1, with 0 in the middle of the image."),
    mistake("in_pixels", CENTRES, "return j + 0 * n",
            "The coordinates are pixels. They run from -1 to 1, with 0 in the middle of the image."),
    mistake("y_upwards", "y, x = (_centres(n, align_corners, like=theta) for n in size)",
            "y, x = (_centres(n, align_corners, like=theta) for n in size)\ny = y[::-1]",
            "y grows upwards. It grows downwards, with the rows of the image."),
    convention("corners_always_aligned", CENTRES, "return 2 * j / max(n - 1, 1) - (n > 1)",
               "±1 are the centres of the outermost pixels, whatever align_corners says: 2j / (W - 1) - 1.",
               by="Jaderberg et al., torch before 1.3"),
    convention("corners_never_aligned", CENTRES, "return (2 * j + 1) / n - 1",
               "±1 are the edges of the image, whatever align_corners says: (2j + 1) / W - 1.",
               by="torch where align_corners is not given"),
    convention("theta_from_input_to_output", GRID, """
a, b, c = theta[:, 0].T
d, e, f = theta[:, 1].T
inverse = np.stack([e, -b, b * f - c * e, -d, a, c * d - a * f], axis=-1) / (a * e - b * d)[:, None]
grid = np.einsum("hwj,nij->nhwi", target, inverse.reshape(theta.shape))""",
               "θ says where the input goes, and is inverted to find where each pixel of the output looks. Here it "
               "maps the output to the input.",
               by="torchvision.transforms.functional.affine"),

    # backward
    mistake("dtheta_averaged", DTHETA, f"{DTHETA} / (dgrid.shape[1] * dgrid.shape[2])",
            "dθ is averaged over the pixels. One θ serves all of them, and their gradients add."),
    mistake("dtheta_transposed", DTHETA, f"""
{DTHETA}
dtheta = np.concatenate([dtheta[:, :, :2].swapaxes(1, 2), dtheta[:, :, 2:]], axis=2)""",
            "The square part of dθ is transposed: dθ_ij = Σ ds_i t_j, source times target."),
    mistake("dtheta_rows_exchanged", DTHETA, 'dtheta = np.einsum("nhwi,hwj->nij", dgrid[..., ::-1], target)',
            "The rows of dθ are exchanged: dgrid is (x, y), and its x belongs to the first row."),
    mistake("dtheta_without_translation", DTHETA,
            'dtheta = np.einsum("nhwi,hwj->nij", dgrid, target * (np.arange(3) < 2))',
            "The translation gets no gradient: it is the sum of dgrid over the pixels, for its target is 1."),
    mistake("dtheta_of_the_batch", DTHETA, f"{DTHETA}\ndtheta = dtheta.sum(0, keepdims=True) + 0 * dtheta",
            "dθ is summed over the batch. Every image has its own θ."),

    # as good
    equal("products_added", GRID, """
x, y = target[..., 0, None], target[..., 1, None]
grid = theta[:, None, None, :, 0] * x + theta[:, None, None, :, 1] * y + theta[:, None, None, :, 2]"""),
    equal("translation_first", GRID, """
x, y = target[..., 0, None], target[..., 1, None]
grid = theta[:, None, None, :, 2] + theta[:, None, None, :, 1] * y + theta[:, None, None, :, 0] * x"""),
    equal("evenly_spaced", CENTRES, """
spaced = 2 * j / max(n - 1, 1) - (n > 1)
return spaced if align_corners else spaced * ((n - 1) / n)"""),
]

IDENTITY = np.eye(2, 3)


def made(rng, size, align_corners=False, N=2):
    """An affine map that is near to none of its mirror images, for a size that is no square."""
    return (IDENTITY + 0.5 * rng.normal(size=(N, 2, 3)),), {"size": size, "align_corners": align_corners}


def wide(rng):
    """more columns than rows: the order of x and y"""
    return made(rng, (3, 5))


def wide_aligned(rng):
    """more columns than rows, with align_corners: what ±1 are"""
    return made(rng, (3, 5), True)


def tall(rng):
    """more rows than columns"""
    return made(rng, (6, 4))


def identity(rng):
    """θ that changes nothing: the centres of the pixels, exactly"""
    return (np.stack([IDENTITY] * 2),), {"size": (4, 8), "align_corners": False}


def identity_aligned(rng):
    """θ that changes nothing, with align_corners"""
    return (np.stack([IDENTITY] * 2),), {"size": (3, 5), "align_corners": True}


def shifted(rng):
    """a translation alone, to the right and up: which way, in which unit"""
    return (np.array([[[1, 0, 0.5], [0, 1, -0.25]]]),), {"size": (4, 8), "align_corners": False}


def sheared(rng):
    """x depends on y and not the other way round: a transposed θ"""
    return (np.array([[[1, 0.5, 0], [0, 1, 0]]]),), {"size": (4, 2), "align_corners": False}


def turned(rng):
    """a quarter turn: which way"""
    return (np.array([[[0.0, -1, 0], [1, 0, 0]]]),), {"size": (2, 4), "align_corners": False}


def collapsed(rng):
    """θ without an inverse: every pixel looks at one line"""
    return (np.array([[[0.5, 1, 0.25], [0, 0, 0.5]]]),), {"size": (3, 4), "align_corners": False}


def one_row(rng):
    """a single row, which lies in the middle"""
    return made(rng, (1, 5), True)


def one_pixel(rng):
    """a single pixel, which is in the middle"""
    return made(rng, (1, 1))


CASES = [wide, wide_aligned, tall, identity, identity_aligned, shifted, sheared, turned, collapsed, one_row, one_pixel]

ALIASES = {"shape": "size", "output_size": "size"}
