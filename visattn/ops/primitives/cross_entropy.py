"""Cross-entropy of classes: how surprising the right answers were, on average.

    p = softmax_c x
    t = (1 - ε) [c = label] + ε / C                         ε = label_smoothing, 0 for the plain loss
    y = -1/N Σ_n Σ_c t_nc log p_nc

Label smoothing: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, Integer, checked, require
from visattn.ops.primitives import log_softmax


class Cache(NamedTuple):
    p: Float[Array, "N C"]
    labels: Integer[Array, "N"]
    label_smoothing: float


def rules(logits, labels, label_smoothing):
    C = logits.shape[1]
    wrong = labels[(labels < 0) | (labels >= C)]
    require(wrong.size == 0, "labels", f"be at least 0 and below the number of classes, {C}", wrong[:1])
    require(0 <= label_smoothing <= 1, "label_smoothing", "lie in [0, 1]", label_smoothing)


@checked(rules)
def forward(
    logits: Float[Array, "N C"], *, labels: Integer[Array, "N"], label_smoothing: float = 0.0
) -> tuple[Float[Array, ""], Cache]:
    """y (): the mean over the batch; 0 for an empty one.

    logits  C scores per example, of any offset             x
    labels  the right class of each, 0 … C - 1
    """
    N, eps = len(logits), label_smoothing
    logp, _ = log_softmax.forward(logits)                                   # (N, C)
    each = (eps - 1) * np.take_along_axis(logp, labels[:, None], 1)[:, 0]   # (N,)
    if eps:                                                                 # 0 · -∞ is NaN
        each = each - eps * logp.mean(1)
    y = each.sum() / max(N, 1)                                              # ()
    return y, Cache(np.exp(logp), labels, eps)


@checked
def backward(dy: Float[Array, ""], cache: Cache) -> tuple[Array, ...]:
    """From y_n = log Σ_c e^{x_c} - Σ_c t_c x_c, since Σ_c t_c = 1:

        dx = dy (p - t) / N             what was predicted less what was true
    """
    p, labels, eps = cache
    N, C = p.shape
    true = np.arange(C, like=labels) == labels[:, None]                     # (N, C)
    t = np.where(true, 1 - eps + eps / C, eps / C)
    dlogits = (p - t.astype(p.dtype)) * (dy / max(N, 1))
    return (dlogits,)


def example(rng):
    N, C = 4, 3
    return (rng.normal(size=(N, C)),), {"labels": rng.integers(C, size=N)}
