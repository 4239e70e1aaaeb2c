"""Eqs. (2) and (3) of CBAM, one after the other."""

from visattn.check.definitions.gates import channel_gate, spatial_gate


def forward(x, w1, w2, w, *, ties="first"):
    return spatial_gate.forward(channel_gate.forward(x, w1, w2), w)
