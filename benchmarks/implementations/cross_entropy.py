"""Cross-entropy, its mean over a batch."""

import jax
import jax.numpy as jnp
import torch

from implementations import huggingface

F = torch.nn.functional


def torch_cross_entropy(logits, *, labels, label_smoothing=0.0):
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def torch_nll(logits, *, labels, label_smoothing=0.0):
    logp = F.log_softmax(logits, 1)
    return (1 - label_smoothing) * F.nll_loss(logp, labels) - label_smoothing * logp.mean(1).mean()


def torch_targets(logits, *, labels, label_smoothing=0.0):
    """Against a row of probabilities."""
    C = logits.shape[1]
    target = F.one_hot(labels, C).to(logits.dtype) * (1 - label_smoothing) + label_smoothing / C
    return -(target * F.log_softmax(logits, 1)).sum(1).mean()


def torch_logsumexp(logits, *, labels, label_smoothing=0.0):
    lse = torch.logsumexp(logits, 1)
    each = lse - logits[torch.arange(len(logits)), labels] * (1 - label_smoothing)
    return (each - label_smoothing * logits.mean(1)).mean() if label_smoothing else each.mean()


def torch_gather(logits, *, labels, label_smoothing=0.0):
    logp = logits - logits.max(1, keepdim=True).values
    logp = logp - logp.exp().sum(1, keepdim=True).log()
    picked = logp.gather(1, labels[:, None])[:, 0]
    return -((1 - label_smoothing) * picked + label_smoothing * logp.mean(1)).sum() / len(logits)


def torch_transformers_label_smoother(logits, *, labels, label_smoothing=0.0):
    smoother = huggingface.of("trainer_pt_utils.LabelSmoother")(label_smoothing)
    return smoother({"logits": logits}, labels).to(logits.dtype)


def jax_one_hot(logits, *, labels, label_smoothing=0.0):
    C = logits.shape[1]
    target = jax.nn.one_hot(labels, C, dtype=logits.dtype) * (1 - label_smoothing) + label_smoothing / C
    return -(target * jax.nn.log_softmax(logits)).sum(1).mean()


def jax_picked(logits, *, labels, label_smoothing=0.0):
    logp = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(logp, labels[:, None], 1)[:, 0]
    return -((1 - label_smoothing) * picked + label_smoothing * logp.mean(1)).mean()
