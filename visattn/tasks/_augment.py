"""Images seen through random affine maps: by affine_grid and grid_sample, the operators themselves."""

from typing import Any, NamedTuple

import numpy as np

from visattn.ops.sampling import affine_grid, grid_sample


class Moves(NamedTuple):
    """How far an image may be moved; each amount is drawn evenly from its range."""

    shift: float = 0.0                   # pixels of the canvas, to each side
    turn: float = 0.0                    # radians, to each side
    smallest: float = 1.0                # size of a pixel of the image, in pixels of the canvas
    largest: float = 1.0
    canvas: int | None = None            # rows and columns of the canvas; None: those of the image


def move(x: Any, moves: Moves, rng: np.random.Generator) -> Any:
    """x (N, C, H, W) on a canvas, turned, zoomed and shifted, each image by an amount of its own."""
    N, size = len(x), (moves.canvas or x.shape[2],) * 2
    turn = rng.uniform(-moves.turn, moves.turn, N)
    zoom = rng.uniform(moves.smallest, moves.largest, N)
    shift = rng.uniform(-moves.shift, moves.shift, (2, N)) * 2 / size[0]
    # From canvas to image, both from -1 to 1: undo the shift, then the turn and the zoom.
    scale = size[0] / (zoom * x.shape[2])
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    theta = np.array([[cos, sin], [-sin, cos]]).transpose(2, 0, 1)                  # (N, 2, 2)
    theta = np.concatenate([theta, -theta @ shift.T[:, :, None]], axis=2)           # (N, 2, 3)
    grid, _ = affine_grid.forward(theta.astype(x.dtype), size=size, align_corners=False)
    return grid_sample.forward(x, grid, align_corners=False)[0]
