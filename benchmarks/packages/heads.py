"""Multi-head attention of any sizes through modules that have one size for everything, exactly; kernels made square.

Nearly all modules of attention take features of one number M, which is heads · D, for x and context, and many take one
x that is both.  Zeros and powers of two change no result by a single bit:

    features    filled up with zeros, and so are the weights: M for all of them
    D           four times as many, of which the new ones are zero, halves the scale 1/√D: W_q, b_q are doubled
    x = context the features of both, one after the other; W_q reads the first half, W_k and W_v the second
    T < S       queries of zeros at the end, and their answers dropped
"""

from typing import NamedTuple

import torch
from torch.nn.functional import pad


class Sizes(NamedTuple):
    """Multi-head attention in one size: all weights (M, M), all biases (M)."""

    x: torch.Tensor                         # (N, T, M)
    context: torch.Tensor                   # (N, S, M); the same as x, where x is both
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    o: torch.Tensor
    bq: torch.Tensor
    bk: torch.Tensor                        # zeros
    bv: torch.Tensor
    bo: torch.Tensor
    mask: torch.Tensor | None
    cut: tuple                              # of the output, what is left

    @property
    def qkv(self) -> torch.Tensor:
        return torch.cat([self.q, self.k, self.v])

    @property
    def bqkv(self) -> torch.Tensor:
        return torch.cat([self.bq, self.bk, self.bv])


def in_one_size(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask=None, *, itself=False) -> Sizes:
    """The arguments of `multihead` for a module with one size M; with `itself`, for one that attends to its input."""
    (_, T, I), (_, S, C), (O, GE), D = x.shape, context.shape, w_o.shape, len(w_q) // heads
    E, GD = GE // heads, len(w_q)
    b_q, b_v, b_o = (b if b is not None else x.new_zeros(n) for b, n in ((b_q, GD), (b_v, GE), (b_o, O)))
    more, wanted, factor = D, max(I + C if itself else max(I, C), O), 1
    while more < E or heads * more < wanted:
        more, factor = 4 * more, 2 * factor
    M = heads * more

    def rows(w, each):                      # heads · each rows to M
        return pad(w.reshape(heads, each, -1), (0, 0, 0, more - each)).reshape(M, -1)

    offset = I if itself else 0
    q = pad(factor * rows(w_q, D), (0, M - I))
    k, v = (pad(rows(w, n), (offset, M - offset - C)) for w, n in ((w_k, D), (w_v, E)))
    o = pad(pad(w_o.reshape(O, heads, E), (0, more - E)).reshape(O, M), (0, 0, 0, M - O))
    if itself:
        if T > S:
            raise NotImplementedError("more queries than keys")
        both = torch.cat([pad(x, (0, 0, 0, S - T)), context], dim=-1)
        x = context = pad(both, (0, M - I - C))
        if mask is not None and mask.shape[2] > 1:
            mask = pad(mask, (0, 0, 0, S - T), value=True)
    else:
        x, context = pad(x, (0, M - I)), pad(context, (0, M - C))
    return Sizes(x, context, q, k, v, o, factor * rows(b_q[:, None], D)[:, 0], x.new_zeros(M),
                 rows(b_v[:, None], E)[:, 0], pad(b_o, (0, M - O)), mask,
                 (slice(None), slice(T), slice(O)))


def squared(w: torch.Tensor) -> torch.Tensor:
    """A kernel (…, Kh, Kw) with zeros around it, so that it is square."""
    rows, columns = ((max(w.shape[-2:]) - n) // 2 for n in w.shape[-2:])
    return pad(w, (columns, columns, rows, rows))


def as_many_out_as_in(x, w_k, w_q, w_o):
    """`spatial_self_attention` with C = O, filled up with zeros; and how many channels to keep of the output."""
    O, C = w_o.shape
    more = max(O - C, 0)
    x, w_k, w_q = pad(x, (0, 0, 0, 0, 0, more)), pad(w_k, (0, more)), pad(w_q, (0, more))
    return x, w_k, w_q, pad(w_o, (0, more, 0, max(C - O, 0))), O
