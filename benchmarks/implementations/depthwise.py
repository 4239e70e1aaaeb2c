"""Depthwise convolutions: convolutions with as many groups as channels."""

from implementations import conv2d


def of(convolution):
    def with_groups(x, w, b=None, **options):
        return convolution(x, w[:, None], b, groups=len(w), **options)
    return with_groups


torch_conv2d, torch_without_onednn = of(conv2d.torch_conv2d), of(conv2d.torch_without_onednn)
torch_unfold, torch_taps, torch_channels_last = map(of, (conv2d.torch_unfold, conv2d.torch_taps,
                                                         conv2d.torch_channels_last))
jax_conv = of(conv2d.jax_conv)


def numpy_taps(m, x, w, b=None, **options):
    y, back = conv2d.taps(m, x, w[:, None], b, groups=len(w), **options)

    def backward(dy):
        dx, dw, *db = back(dy)
        return dx, dw[:, 0], *db

    return y, backward
