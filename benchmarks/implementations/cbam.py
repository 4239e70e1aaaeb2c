"""CBAM: the gate for channels, then the one for pixels."""

import functools

import torch

from implementations import NotTaken, channel_gate, spatial_gate


def of(channel, spatial):
    def both(x, w1, w2, w, *, ties="first"):
        return spatial(channel(x, w1, w2, ties=ties), w, ties=ties)
    return both


torch_written = of(channel_gate.torch_linear, spatial_gate.torch_convolution)
torch_convolutions = of(channel_gate.torch_convolutions, spatial_gate.torch_two_convolutions)
torch_both_at_once = of(channel_gate.torch_both_at_once, spatial_gate.torch_two_convolutions)
jax_written = of(channel_gate.jax_matmul, spatial_gate.jax_convolution)


@functools.cache
def timm_module(C, M, K):
    from timm.layers.cbam import CbamModule
    block = CbamModule(C, rd_channels=M, spatial_kernel_size=K).eval()
    block.spatial.conv.bn.eps = 0.0
    return block


def torch_timm(x, w1, w2, w, *, ties="first"):
    if ties == "first" or w.shape[2] != w.shape[3]:
        raise NotTaken("ties")
    block = timm_module(x.shape[1], len(w1), w.shape[2])
    weights = {"channel.fc1.weight": w1[:, :, None, None], "channel.fc2.weight": w2[:, :, None, None],
               "spatial.conv.conv.weight": w}
    weights |= {f"spatial.conv.bn.{name}": t.to(x.dtype) for name, t in block.spatial.conv.bn.state_dict().items()
                if t.is_floating_point()}
    return torch.func.functional_call(block, weights, (x,))
