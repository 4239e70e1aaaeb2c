"""Arguments of the twins at sizes that are odd, all different, and above a warp or a tile; and at rows long enough to
take the kernels that short ones do not."""

def normal(*shapes):
    return lambda rng: (tuple(rng.normal(size=shape) for shape in shapes), {})


def attended(q, k, v, bias=None, **options):
    """Queries, keys, values, and a mask in which every query has a key."""
    def made(rng):
        mask = rng.random((*q[:-1], k[-2])) < 0.8
        mask[..., 0] = True
        shapes = (q, k, v) if bias is None else (q, k, v, bias)
        return tuple(rng.normal(size=shape) for shape in shapes), {"mask": mask, **options}
    return made


def sampled(rng):
    return (rng.normal(size=(2, 5, 19, 23)), rng.uniform(-1.1, 1.1, size=(2, 21, 17, 2))), {"align_corners": False}


ODD = {
    "attention": attended((2, 3, 37, 21), (2, 3, 71, 21), (2, 3, 71, 35)),
    "channel_gate": normal((3, 37, 9, 11), (5, 37), (37, 5)),
    "flash": attended((2, 4, 37, 41), (2, 2, 71, 41), (2, 2, 71, 35)),
    "grid_sample": sampled,
    "layernorm": normal((3, 7, 131), (131,), (131,)),
    "lstm_cell": normal((5, 37), (5, 43), (5, 43), (172, 37), (172, 43), (172,), (172,)),
    "merge": normal((2, 3, 5, 37, 21), (2, 3, 5, 37)),
    "softmax": normal((3, 7, 131)),
    "spatial_gate": normal((2, 13, 19, 37), (1, 2, 7, 7)),
    "squeeze_excite": normal((3, 37, 9, 11), (5, 37), (37, 5)),
}
LONG = {
    "layernorm": [normal((2, 1500), (1500,), (1500,)), normal((2, 12000), (12000,), (12000,))],
    "softmax": [normal((2, 1500)), normal((2, 12000))],
    "flash": [attended((1, 2, 5, d), (1, 2, 700, d), (1, 2, 700, d)) for d in (24, 64, 100, 128, 200, 256)],
}


def larger(name, rng):
    """(args, options) at odd sizes.  A twin that is not listed needs a line above."""
    return ODD[name](rng)


def others(name, rng):
    """[(args, options)] of rows that are too long for what short ones take."""
    return [made(rng) for made in LONG.get(name, ())]
