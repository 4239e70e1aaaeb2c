"""Parts of an attention joined."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch

from implementations import NotTaken

F = torch.nn.functional
CONVENTIONS = {"torch_written": ("empty_queries_are_nan",)}


def cleaned(o, lse):
    """What a part without keys holds does not count."""
    return o.masked_fill((lse == -torch.inf)[..., None], 0)


def torch_written(o, lse):
    """As in the paper."""
    joined = torch.logsumexp(lse, -2)
    w = torch.exp(lse - joined[..., None, :])
    return (w[..., None] * cleaned(o, lse)).sum(-3), joined


def torch_softmax(o, lse):
    none = (lse == -torch.inf).all(-2, keepdim=True)
    safe = lse.masked_fill(none, 0)
    w = torch.softmax(safe, -2).masked_fill(none, 0)
    return torch.einsum("...kt,...kte->...te", w, cleaned(o, lse)), torch.logsumexp(safe, -2).masked_fill(
        none[..., 0, :], -torch.inf)


def torch_normalised_last(o, lse):
    top = lse.detach().amax(-2, keepdim=True)
    top = top.masked_fill(top == -torch.inf, 0)
    e = torch.exp(lse - top)
    total = e.sum(-2)
    none = total == 0
    safe = torch.where(none, 1, total)
    joined = torch.where(none, -torch.inf, top[..., 0, :] + safe.log())
    return (e[..., None] * cleaned(o, lse)).sum(-3) / safe[..., None], joined


def torch_one_by_one(o, lse):
    """Every part to what was joined before, with the larger of two taken off, as kernels for decoding do."""
    o, (joined, total) = cleaned(o, lse), (None, None)
    for one, more in zip(o.unbind(-3), lse.unbind(-2)):
        if joined is None:
            joined, total = one, more
            continue
        top = torch.maximum(total, more).detach()
        top = top.masked_fill(top == -torch.inf, 0)
        a, b = torch.exp(total - top), torch.exp(more - top)
        none = a + b == 0
        safe = torch.where(none, 1, a + b)
        joined = joined * (a / safe)[..., None] + one * (b / safe)[..., None]
        total = torch.where(none, -torch.inf, top + torch.log(safe))
    return joined, total


def torch_ring(o, lse):
    """By the sigmoid of the difference, as in rings of devices."""
    if not bool(torch.isfinite(lse).all()):
        raise NotTaken("parts without keys")
    joined, total = o[..., 0, :, :], lse[..., 0, :]
    for i in range(1, o.shape[-3]):
        one, more = o[..., i, :, :], lse[..., i, :]
        joined = joined - torch.sigmoid(more - total)[..., None] * (joined - one)
        total = total - F.logsigmoid(total - more)
    return joined, total


def torch_logaddexp(o, lse):
    if not bool(torch.isfinite(lse).all()):
        raise NotTaken("parts without keys")
    joined, total = o[..., 0, :, :], lse[..., 0, :]
    for i in range(1, o.shape[-3]):
        more = torch.logaddexp(total, lse[..., i, :])
        joined = joined * torch.exp(total - more)[..., None] + o[..., i, :, :] * torch.exp(lse[..., i, :] - more)[
            ..., None]
        total = more
    return joined, total


def jax_softmax(o, lse):
    some = lse != -jnp.inf
    any_part = some.any(-2, keepdims=True)
    safe = jnp.where(any_part, lse, 0)
    w = jax.nn.softmax(safe, -2, where=some | ~any_part) * any_part
    joined = jax.nn.logsumexp(safe, -2)
    return (w[..., None] * jnp.where(some[..., None], o, 0)).sum(-3), jnp.where(any_part[..., 0, :], joined, -jnp.inf)


def jax_written(o, lse):
    some = lse != -jnp.inf
    none = ~some.any(-2)
    joined = jax.nn.logsumexp(jnp.where(none[..., None, :], 0, lse), -2)
    w = jnp.where(some, jnp.exp(lse - joined[..., None, :]), 0)
    return jnp.einsum("...kt,...kte->...te", w, jnp.where(some[..., None], o, 0)), jnp.where(none, -jnp.inf, joined)


def joined(m, o, lse, order="ascending", base_two=False, stored=False):
    """A kernel over the parts, in any order: sums in float32; `stored` has the weights rounded, for an einsum."""
    f, K = m.dtype.type, o.shape[-3]
    fold = f(np.log2(np.e)) if base_two else f(1)
    exp, log = (np.exp2, np.log2) if base_two else (np.exp, np.log)
    some = lse != -np.inf
    o, a = np.where(some[..., None], o, f(0)), lse * fold
    top, total, u = np.full(a[..., 0, :].shape, -np.inf, f), np.zeros(a[..., 0, :].shape, f), 0
    for i in {"ascending": range(K), "descending": range(K)[::-1]}[order]:
        higher = np.maximum(top, a[..., i, :])
        safe = np.where(higher == -np.inf, f(0), higher)
        shrink, e = exp(top - safe), exp(a[..., i, :] - safe)
        u, total, top = u * shrink[..., None] + e[..., None] * o[..., i, :, :], total * shrink + e, higher
    none = total == 0
    known = np.where(none, f(0), top) + log(np.where(none, f(1), total))
    w = np.where(some, exp(a - known[..., None, :]), f(0))
    w = m.stored(w) if stored else w
    y = m.stored((w[..., None] * o).sum(-3) if stored else u / np.where(none, f(1), total)[..., None])

    def backward(dy):
        dj, dlse = dy
        dj, dlse = np.where(none[..., None], f(0), dj), np.where(none, f(0), dlse)
        dw = (dj[..., None, :, :] * o).sum(-1) - (dj * y).sum(-1)[..., None, :]
        return m.stored(w[..., None] * dj[..., None, :, :]), m.stored(w * (dw + dlse[..., None, :]))

    return (y, m.stored(np.where(none, f(-np.inf), known / fold))), backward


numpy_ascending = joined
numpy_descending = partial(joined, order="descending")
numpy_base_two = partial(joined, base_two=True)
numpy_stored_weights = partial(joined, stored=True)
