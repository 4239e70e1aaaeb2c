"""What goes wrong in global average pooling."""

from visattn.check.changes import equal, mistake

Y = "return x.mean(axis=(2, 3)), Cache(x)"
DX = "return (np.broadcast_to((dy / (H * W))[:, :, None, None], x.shape).copy(),)"

CHANGES = [
    mistake("sum", Y, "return x.sum(axis=(2, 3)), Cache(x)",
            "The pixels are summed: y = mean_hw x divides by H · W."),
    mistake("square_taken_for_granted", Y, "return x.sum(axis=(2, 3)) / x.shape[2] ** 2, Cache(x)",
            "The sum is divided by H², which is right for square images only: it is H · W."),
    mistake("maximum", Y, "return x.max(axis=(2, 3)), Cache(x)",
            "The largest pixel is taken: y = mean_hw x."),
    mistake("gradient_not_divided", DX, "return (np.broadcast_to(dy[:, :, None, None], x.shape).copy(),)",
            "Each pixel gets the whole gradient: it had a share of 1/HW in the mean, dx = dy / HW."),
    mistake("gradient_divided_by_one_side", DX,
            "return (np.broadcast_to((dy / W)[:, :, None, None], x.shape).copy(),)",
            "The gradient is divided by one side of the image: each pixel had a share of 1/HW in the mean, dx = dy / "
            "HW."),
    mistake("gradient_divided_by_the_batch", DX,
            "return (np.broadcast_to((dy / (len(x) * H * W))[:, :, None, None], x.shape).copy(),)",
            "The gradient is divided by the number of images, too: dx = dy / HW."),
    equal("columns_then_rows", Y, "return x.mean(axis=3).mean(axis=2), Cache(x)"),
    equal("divided_twice", DX, "return (np.broadcast_to((dy / H / W)[:, :, None, None], x.shape).copy(),)"),
]


def more_rows(rng):
    """more rows than columns, off zero on average"""
    return (rng.normal(1, 1, size=(2, 3, 7, 2)),), {}


def one_pixel(rng):
    """images of one pixel: its own mean"""
    return (rng.normal(size=(2, 4, 1, 1)),), {}


CASES = [more_rows, one_pixel]
