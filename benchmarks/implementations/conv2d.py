"""Convolutions: torch's, columns in torch, XLA's, and taps and columns in other orders in NumPy."""

import jax
import numpy as np
import torch

from implementations import pair

F = torch.nn.functional


def torch_conv2d(x, w, b=None, **options):
    return F.conv2d(x, w, b, **options)


def torch_without_onednn(x, w, b=None, **options):
    with torch.backends.mkldnn.flags(enabled=False):
        return F.conv2d(x, w, b, **options)


def torch_channels_last(x, w, b=None, **options):
    return F.conv2d(x.contiguous(memory_format=torch.channels_last), w, b, **options)


def torch_unfold(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Columns, and one product of matrices for each group."""
    (H, W), (Kh, Kw) = x.shape[2:], w.shape[2:]
    (sh, sw), (ph, pw), (dh, dw) = map(pair, (stride, padding, dilation))
    size = (H + 2 * ph - dh * (Kh - 1) - 1) // sh + 1, (W + 2 * pw - dw * (Kw - 1) - 1) // sw + 1
    u = F.unfold(x, (Kh, Kw), dilation, padding, stride)                        # (N, C Kh Kw, Ho Wo)
    y = torch.cat([wg.flatten(1) @ ug for wg, ug in zip(w.chunk(groups), u.chunk(groups, 1))], 1)
    y = y.unflatten(2, size)
    return y if b is None else y + b[:, None, None]


def torch_taps(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    """A product of the pixels under each tap, summed over the taps by torch.stack(...).sum."""
    (sh, sw), (ph, pw), (dh, dw) = map(pair, (stride, padding, dilation))
    x = F.pad(x, (pw, pw, ph, ph))
    Ho, Wo = ((x.shape[2] - dh * (w.shape[2] - 1) - 1) // sh + 1, (x.shape[3] - dw * (w.shape[3] - 1) - 1) // sw + 1)
    parts = []
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            seen = x[:, :, i * dh:i * dh + sh * Ho:sh, j * dw:j * dw + sw * Wo:sw]
            seen = seen.unflatten(1, (groups, -1))
            parts.append(torch.einsum("ngihw,goi->ngohw", seen, w[..., i, j].unflatten(0, (groups, -1))).flatten(1, 2))
    y = torch.stack(parts).sum(0)
    return y if b is None else y + b[:, None, None]


def jax_conv(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    y = jax.lax.conv_general_dilated(x, w, pair(stride), [(p, p) for p in pair(padding)],
                                     rhs_dilation=pair(dilation), feature_group_count=groups)
    return y if b is None else y + b[:, None, None]


def keras_conv(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    import keras
    (ph, pw) = pair(padding)
    x = keras.ops.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    y = keras.ops.conv(x, keras.ops.transpose(w, (2, 3, 1, 0)), pair(stride), "valid", "channels_first", pair(dilation))
    return y if b is None else y + b[:, None, None]


def taps(m, x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, backwards=False):
    """One tap after another on top of what there is, from the first or from the last; channels as rows of a product."""
    (sh, sw), (ph, pw), (dh, dw) = map(pair, (stride, padding, dilation))
    frame = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    Ho, Wo = ((frame.shape[2] - dh * (w.shape[2] - 1) - 1) // sh + 1, (frame.shape[3] - dw * (w.shape[3] - 1) - 1)
              // sw + 1)
    places = [(i, j, np.s_[:, :, i * dh:i * dh + sh * (Ho - 1) + 1:sh, j * dw:j * dw + sw * (Wo - 1) + 1:sw])
              for i in range(w.shape[2]) for j in range(w.shape[3])][::-1 if backwards else 1]
    N, G, O = len(x), groups, len(w)

    def rows(a):                                                                # (G, channels, N Ho Wo)
        return a.swapaxes(0, 1).reshape(G, -1, N * Ho * Wo)

    def image(a):
        return a.reshape(-1, N, Ho, Wo).swapaxes(0, 1)

    y = np.zeros((N, O, Ho, Wo), m.dtype)
    for i, j, at in places:
        y = y + image(m.dot(w[..., i, j].reshape(G, O // G, -1), rows(frame[at])))
    if b is not None:
        y = y + b[:, None, None]

    def backward(dy):
        dframe, dw_, d = np.zeros_like(frame), np.zeros_like(w), rows(dy)
        for i, j, at in places:
            dframe[at] += image(m.dot(w[..., i, j].reshape(G, O // G, -1).swapaxes(1, 2), d))
            dw_[..., i, j] = m.dot(d, rows(frame[at]).swapaxes(1, 2)).reshape(O, -1)
        dx = dframe[:, :, ph:frame.shape[2] - ph, pw:frame.shape[3] - pw]
        db = () if b is None else (dy.sum((0, 2, 3)),)
        return tuple(map(m.stored, (dx, dw_, *db)))

    return m.stored(y), backward


def numpy_taps(m, x, w, b=None, **options):
    return taps(m, x, w, b, **options)


def numpy_taps_from_the_last(m, x, w, b=None, **options):
    return taps(m, x, w, b, backwards=True, **options)
