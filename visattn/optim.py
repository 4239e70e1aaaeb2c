"""Gradient descent over any tree of arrays: an optimiser is a line or two of `tree.map`.

    p, state = optim.adam(p, g, state, lr=1e-3)         # state is None at the first step

Nothing is written in place: the tree that went in is still the tree before the step, which is what makes a training
run that is interrupted in the middle of a step lose nothing.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from visattn import tree

Tree = Any


class Moments(NamedTuple):
    """What Adam remembers; a tree itself."""

    t: Any                               # steps taken, an integer array of no axes
    m: Tree                              # mean of the gradients
    v: Tree                              # mean of their squares


def sgd(p: Tree, g: Tree, state: None = None, *, lr: float) -> tuple[Tree, None]:
    """p ← p - lr g."""
    return tree.map(lambda p, g: p - lr * g, p, g), None


def momentum(p: Tree, g: Tree, state: Tree | None = None, *, lr: float, mu: float = 0.9) -> tuple[Tree, Tree]:
    """u ← μ u + g,  p ← p - lr u  (Polyak 1964; the state is u)."""
    u = g if state is None else tree.map(lambda u, g: mu * u + g, state, g)
    return tree.map(lambda p, u: p - lr * u, p, u), u


def adam(p: Tree, g: Tree, state: Moments | None = None, *,
         lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> tuple[Tree, Moments]:
    """Kingma & Ba 2015, Algorithm 1:  p ← p - lr m̂ / (√v̂ + ε),  m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)."""
    return adamw(p, g, state, lr=lr, decay=0.0, beta1=beta1, beta2=beta2, eps=eps)


def adamw(p: Tree, g: Tree, state: Moments | None = None, *,
          lr: float, decay: float = 0.01, beta1: float = 0.9, beta2: float = 0.999,
          eps: float = 1e-8) -> tuple[Tree, Moments]:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019):  p ← (1 - lr decay) p  before Adam's step."""
    t, m, v = state or Moments(np.array(0), tree.map(np.zeros_like, p), tree.map(np.zeros_like, p))
    t = np.asarray(t + 1)
    m = tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, m, g)
    v = tree.map(lambda v, g: beta2 * v + (1 - beta2) * g**2, v, g)
    m_part, v_part = 1 - beta1 ** int(t), 1 - beta2 ** int(t)
    p = tree.map(lambda p, m, v: (1 - lr * decay) * p - lr * (m / m_part) / ((v / v_part) ** 0.5 + eps), p, m, v)
    return p, Moments(t, m, v)


def cosine(step: int, steps: int, *, peak: float, warmup: int = 0) -> float:
    """The learning rate of step 0, 1, …, steps - 1: a straight line up to `peak`, then half a cosine towards 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) / 2


def clip(g: Tree, limit: float) -> tuple[Tree, float]:
    """(gradients, their norm): scaled down together where the norm over the whole tree is above `limit`."""
    norm = math.sqrt(float(tree.dot(g, g)))
    return (g if norm <= limit else tree.map(lambda g: g * (limit / norm), g)), norm
