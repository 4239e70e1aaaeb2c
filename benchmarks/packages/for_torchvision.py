"""torchvision."""

from entries import entry, filled
from torchvision.ops import SqueezeExcitation


@entry("torchvision.ops.SqueezeExcitation", "squeeze_excite", "it has biases: set to 0")
def build_squeeze_excitation(x, w1, w2):
    return filled(SqueezeExcitation(x.shape[1], len(w1)), {"fc1.weight": w1, "fc2.weight": w2})
