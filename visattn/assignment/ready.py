"""Assignments that are ready to be handed out: `visattn assignment new gates` needs no --ops."""

from typing import NamedTuple


class Ready(NamedTuple):
    """What an assignment of this name asks for."""

    title: str
    ops: tuple[str, ...]
    parts: tuple[str, ...] = ("forward", "backward")


READY = {
    "softmax_and_attention": Ready("Softmax and attention", ("softmax", "attention"),
                                   ("forward", "backward", "derivation")),
    "gates": Ready("Gates for channels and pixels", ("squeeze_excite", "efficient_channel", "spatial_gate")),
    "grid_sampling": Ready("Looking between the pixels", ("affine_grid", "grid_sample")),
    "through_time": Ready("Attention through time", ("lstm_cell", "additive", "soft_caption")),
}
