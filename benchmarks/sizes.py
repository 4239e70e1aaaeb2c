"""Realistic sizes of operators; the examples in the operators' files are tiny on purpose.

Each case: an operator, its arguments in float32, its options, and how torch computes the same.
"""

from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    operator: str
    size: str
    args: Any                   # rng -> arguments
    options: dict
    torch: Any                  # (torch, *tensors) -> output
    peer: str
    bar: float                  # our time may be this many times the peer's


def floats(*shapes):
    return lambda rng: tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def torch_attention(torch, q, k, v):
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)


def images_and_grid(rng):
    x, grid = rng.normal(size=(4, 32, 64, 64)), rng.uniform(-1.1, 1.1, size=(4, 64, 64, 2))
    return x.astype(np.float32), grid.astype(np.float32)


CASES = [
    Case("attention", "(1, 8, 1024, 64)", floats(*3 * [(1, 8, 1024, 64)]), {}, torch_attention,
         "scaled_dot_product_attention, unfused", 1.0),
    Case("conv2d", "3×3 on (8, 32, 56, 56)", floats((8, 32, 56, 56), (32, 32, 3, 3), (32,)), {"padding": 1},
         lambda torch, x, w, b: torch.nn.functional.conv2d(x, w, b, padding=1), "conv2d", 4.0),
    Case("grid_sample", "bilinear, (4, 32, 64, 64)", images_and_grid,
         {"mode": "bilinear", "padding": "zeros", "align_corners": False},
         lambda torch, x, grid: torch.nn.functional.grid_sample(x, grid, align_corners=False), "grid_sample", 6.0),
    Case("layernorm", "(64, 197, 192)", floats((64, 197, 192), (192,), (192,)), {},
         lambda torch, x, g, b: torch.nn.functional.layer_norm(x, (192,), g, b), "layer_norm", np.inf),
    Case("softmax", "(8, 1024, 1024)", floats((8, 1024, 1024)), {},
         lambda torch, x: torch.softmax(x, -1), "softmax", np.inf),
]
