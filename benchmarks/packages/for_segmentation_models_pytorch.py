"""segmentation-models-pytorch."""

from entries import NOT_COMPARED, entry, filled
from segmentation_models_pytorch.base.modules import SCSEModule
from torch import nn


class Half(nn.Module):
    """One of the two gates, times x."""

    def __init__(self, gate):
        super().__init__()
        self.gate = gate

    def forward(self, x):
        return x * self.gate(x)


@entry("segmentation_models_pytorch.base.modules.SCSEModule, cSE", "squeeze_excite", "its first half; biases: set to 0")
def build_channel_half(x, w1, w2):
    gate = SCSEModule(len(w2), reduction=1).cSE
    gate[1], gate[3] = nn.Conv2d(len(w2), len(w1), 1), nn.Conv2d(len(w1), len(w2), 1)
    return filled(Half(gate), {"gate.1.weight": w1, "gate.3.weight": w2})


NOT_COMPARED["segmentation_models_pytorch.base.modules.SCSEModule, whole"] = (
    "adds a gate per pixel without maximum: no operator here")
