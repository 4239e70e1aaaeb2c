"""What goes wrong in glimpses."""

import numpy as np

from visattn.check.changes import convention, equal, mistake

GRID = "grid = loc[:, None, None] + _offsets(size * s, H, W, like=loc)"
MEAN = "y.append(patch.reshape(N, C, size, s, size, s).mean(axis=(3, 5)))"
RETURN = "return np.stack(y, axis=1), Cache(x, loc, tuple(looks), size, factor)"
DPATCH = "dpatch = (dy[:, k] / s ** 2).repeat(s, axis=2).repeat(s, axis=3)"
DX = "dx += dx_k"
DLOC = "dloc += dgrid.sum(axis=(1, 2))"
J = "j = 2 * np.arange(n, dtype=like.dtype, like=like) + (1 - n)"
OFFSETS = "return np.stack(np.broadcast_arrays(j / W, (j / H)[:, None]), axis=-1)"

CHANGES = [
    # where it looks
    mistake("y_before_x", GRID, GRID.replace("loc[:, None, None]", "loc[:, None, None, ::-1]"),
            "The location is read as (y, x). It is (x, y): the column first."),
    mistake("centres_at_one", GRID, """
unit = np.array([(W - 1) / W, (H - 1) / H], dtype=loc.dtype)
grid = loc[:, None, None] * unit + _offsets(size * s, H, W, like=loc)""",
            "±1 are taken for the centres of the outermost pixels. They are the edges of the image: the column is "
            "((l + 1) W - 1) / 2."),
    mistake("from_0_to_1", GRID, GRID.replace("loc[:, None, None]", "(2 * loc[:, None, None] - 1)"),
            "The location is read as coordinates from 0 to 1. They run from -1 to 1, with 0 in the middle."),
    mistake("half_a_pixel_off", J, J.replace("(1 - n)", "-n").replace("+ -n", "- n"),
            "The patch lies half a pixel up and left: g pixels reach from -(g - 1) / 2 to (g - 1) / 2 around l."),
    mistake("corner_at_location", J, J.removesuffix(" + (1 - n)"),
            "The patch begins at l. It lies around l, with l in its middle."),
    mistake("transposed", OFFSETS, "return np.stack(np.broadcast_arrays((j / W)[:, None], j / H), axis=-1)",
            "The patch is transposed: x has to run along its columns."),
    mistake("sizes_exchanged", OFFSETS, OFFSETS.replace("W", "V").replace("H", "W").replace("V", "H"),
            "Steps along x are divided by the height and steps along y by the width; where H = W nobody sees it."),
    mistake("one_size_for_both", OFFSETS, OFFSETS.replace("j / H", "j / W"),
            "Steps along both axes are divided by the width: on an image that is no square the patch is not of whole "
            "pixels along y."),
    mistake("twice_as_wide", OFFSETS, OFFSETS.replace("j / W", "2 * j / W").replace("j / H", "2 * j / H"),
            "The patch is twice as wide: the image is 2 wide in these units, so that a pixel is 2 / W."),
    mistake("fills_the_image", J, f"{J}\nj = j / n",
            "The patch sees the whole image at low resolution, however small it is. It sees g pixels around l."),
    mistake("scales_not_growing", GRID, GRID.replace("like=loc)", "like=loc) / s"),
            "All patches see the same part of the image: the k-th should see sᵏ times as far."),

    # what it makes of it
    mistake("subsampled", MEAN, "y.append(patch[:, :, ::s, ::s])",
            "Coarse patches take one pixel of each block. They take the mean of the block."),
    mistake("max_pooled", MEAN, "y.append(patch.reshape(N, C, size, s, size, s).max(axis=(3, 5)))",
            "Coarse patches take the largest pixel of each block. They take the mean."),
    mistake("summed", MEAN, MEAN.replace(".mean(", ".sum("),
            "Coarse patches add up each block, and grow brighter with its size. They take the mean."),
    mistake("blocks_interleaved", MEAN, "y.append(patch.reshape(N, C, s, size, s, size).mean(axis=(2, 4)))",
            "The blocks are made of pixels that lie far apart: reshape to (g, s), not to (s, g)."),
    mistake("coarse_first", RETURN, RETURN.replace("np.stack(y,", "np.stack(y[::-1],"),
            "The coarsest patch comes first. The finest does."),
    convention("whole_pixels", GRID, """
extent = np.array([W, H], dtype=loc.dtype)
first = np.floor((loc + 1) / 2 * extent) - (size * s) // 2
grid = ((2 * first + size * s) / extent - 1)[:, None, None] + _offsets(size * s, H, W, like=loc)""",
               "The patch is cut at whole pixels, as in the paper. Here it lies at l exactly, and is interpolated.",
               by="Mnih et al., and whoever cuts by slices"),

    # backward
    convention("location_detached", DLOC, "pass",
               "The location gets no gradient from the patches: it is learned by REINFORCE, and must not get one. Here "
               "it is given, to be dropped there.",
               by="Mnih et al."),
    mistake("dloc_averaged", DLOC, "dloc += dgrid.mean(axis=(1, 2))",
            "dl is averaged over the pixels of a patch. One l moves all of them, and their gradients add."),
    mistake("dloc_of_the_last_patch", DLOC, "dloc = dgrid.sum(axis=(1, 2))",
            "dl is that of the last patch: each one overwrites what those before left. Their gradients add."),
    mistake("dx_of_the_last_patch", DX, "dx = dx_k",
            "dx is that of the last patch: each one overwrites what those before left. Their gradients add."),
    mistake("mean_without_its_factor", DPATCH, DPATCH.replace("(dy[:, k] / s ** 2)", "dy[:, k]"),
            "The gradient of a mean lacks its factor: each of the s² pixels of a block gets 1 / s² of it."),
    mistake("mean_of_a_row", DPATCH, DPATCH.replace("s ** 2", "s"),
            "The gradient of a block is divided by s. A block has s² pixels."),
    mistake("gradient_tiled", DPATCH, "dpatch = np.tile(dy[:, k] / s ** 2, (1, 1, s, s))",
            "The gradient is laid out in tiles. Every number belongs to one block, whose pixels stand together: repeat "
            "each of them."),

    # as good
    equal("columns_then_rows", MEAN, "y.append(patch.reshape(N, C, size, s, size, s).mean(axis=5).mean(axis=3))"),
    equal("divided_last", DPATCH, "dpatch = dy[:, k].repeat(s, axis=2).repeat(s, axis=3) / s ** 2"),
]


def made(rng, centre, N=2, C=2, H=4, W=8, **options):
    """An image of H × W pixels and patches around these points (column, row), counted in pixels from its corner."""
    loc = np.array([centre] if np.ndim(centre) == 1 else centre) * [2 / W, 2 / H] - 1
    return (rng.normal(size=(len(loc), C, H, W)), loc), options


def between_pixels(rng):
    """a quarter and three quarters between pixels, inside: where the patch lies"""
    return made(rng, [[3.25, 1.75], [4.75, 2.25]], size=2)


def odd_size(rng):
    """patches of 3 × 3: the pixel in the middle"""
    return made(rng, [[3.25, 1.75], [5.75, 2.25]], size=3)


def tall(rng):
    """an image with more rows than columns: x and y"""
    return made(rng, [[1.75, 4.25], [2.25, 2.75]], H=8, W=4, size=2)


def across_the_edge(rng):
    """patches that stick out: zeros outside"""
    return made(rng, [[0.25, 0.75], [7.75, 3.25]], size=4)


def outside(rng):
    """locations beyond ±1"""
    return made(rng, [[-1.25, 1.75], [9.25, 2.25]], size=3)


def two_patches(rng):
    """a fine patch and a coarse one"""
    return made(rng, [[3.25, 1.75], [5.75, 2.25]], size=2, patches=2)


def three_patches(rng):
    """three patches, the last one larger than the image"""
    return made(rng, [[3.25, 2.75], [4.75, 1.25]], C=1, size=2, patches=3)


def three_times_as_far(rng):
    """a factor of 3"""
    return made(rng, [[3.25, 1.75]], C=1, size=2, patches=2, factor=3)


def one_pixel(rng):
    """patches of a single pixel"""
    return made(rng, [[2.25, 1.75], [5.75, 3.25]], size=1)


def on_whole_pixels(rng):
    """a patch of whole pixels, cut out as it is; on kinks, where the derivative is that from the right"""
    return made(rng, [[4, 2], [3, 1]], size=2)


CASES = [between_pixels, odd_size, tall, across_the_edge, outside, two_patches, three_patches, three_times_as_far,
         one_pixel, on_whole_pixels]

ALIASES = {"l": "loc", "location": "loc", "g": "size", "patch_size": "size", "k": "patches", "num_patches": "patches",
           "s": "factor", "glimpse_scale": "factor"}
