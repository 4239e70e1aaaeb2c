"""What goes wrong in cross-entropy."""

import numpy as np

from visattn.check.changes import convention, mistake

LOGP = "logp, _ = log_softmax.forward(logits)"
EACH = "each = (eps - 1) * np.take_along_axis(logp, labels[:, None], 1)[:, 0]"
SMOOTH = "each = each - eps * logp.mean(1)"
Y = "y = each.sum() / max(N, 1)"
T = "t = np.where(true, 1 - eps + eps / C, eps / C)"
DX = "dlogits = (p - t.astype(p.dtype)) * (dy / max(N, 1))"

CHANGES = [
    mistake("softmax_twice", LOGP, "logp, _ = log_softmax.forward(np.exp(log_softmax.forward(logits)[0]))",
            "A softmax comes before the loss, which has one of its own: it is given logits, y = -log "
            "softmax(x)_label."),
    mistake("sum_over_the_batch", Y, "y = each.sum()",
            "The losses of the batch are summed: y is their mean, 1/N Σ_n."),
    mistake("mean_over_the_classes", Y, "y = each.sum() / logits.size",
            "The mean is taken over the classes, too: for one example the terms are summed, and the batch is averaged, "
            "y = -1/N Σ_n Σ_c t_nc log p_nc."),
    mistake("sign", Y, "y = -each.sum() / max(N, 1)",
            "The sign is wrong: this is the log-likelihood, which grows as the answers get better. "
            "y = -1/N Σ_n log p_n,label."),
    mistake("labels_from_one", EACH, EACH.replace("labels[:, None]", "labels[:, None] - 1"),
            "The classes are counted from 1: labels run from 0 to C - 1."),
    mistake("smoothing_ignored", "N, eps = len(logits), label_smoothing", "N, eps = len(logits), 0.0",
            "Label smoothing has no effect: t = (1 - ε) [c = label] + ε / C."),
    mistake("smoothing_on_the_other_classes", SMOOTH,
            "each = each - eps / max(logits.shape[1] - 1, 1) * (\n"
            "    logp.sum(1) - np.take_along_axis(logp, labels[:, None], 1)[:, 0])",
            "ε is shared among the C - 1 wrong classes: each of all C gets ε / C, t = (1 - ε) [c = label] + ε / C."),
    mistake("smoothing_without_taking", SMOOTH,
            "each = each - eps * logp.mean(1) - eps * np.take_along_axis(logp, labels[:, None], 1)[:, 0]",
            "The right class keeps its whole 1, and what is smoothed comes on top: the targets sum to 1 + ε. "
            "t = (1 - ε) [c = label] + ε / C."),
    mistake("epsilon_to_every_class", SMOOTH, "each = each - eps * logp.sum(1)",
            "Every class gets ε, not ε / C: the targets do not sum to 1. t = (1 - ε) [c = label] + ε / C."),
    mistake("gradient_of_the_sum", DX, "dlogits = (p - t.astype(p.dtype)) * dy",
            "The gradient lacks 1/N: the loss is a mean over the batch, dx = dy (p - t) / N."),
    mistake("gradient_of_the_mean_over_classes", DX, "dlogits = (p - t.astype(p.dtype)) * (dy / max(p.size, 1))",
            "The gradient is divided by the number of classes, too: the loss is a mean over the batch alone, dx = dy "
            "(p - t) / N."),
    mistake("truth_not_subtracted", DX, "dlogits = p * (dy / max(N, 1))",
            "The truth is not subtracted: dx = dy (p - t) / N, whose rows sum to 0."),
    mistake("only_the_right_class", DX, "dlogits = np.where(true, p - 1, 0) * (dy / max(N, 1))",
            "Only the right class gets a gradient: all logits are in the sum of the softmax, dx = dy (p - t) / N."),
    mistake("truth_less_prediction", DX, "dlogits = (t.astype(p.dtype) - p) * (dy / max(N, 1))",
            "The sign is wrong, and the loss climbs: dx = dy (p - t) / N, what was predicted less what was true."),
    mistake("gradient_of_the_logarithm", DX, "dlogits = -t.astype(p.dtype) / p * (dy / max(N, 1))",
            "This is the gradient for the probabilities, -t / p: for the logits it passes the softmax as well, "
            "dx = dy (p - t) / N."),
    mistake("upstream_ignored", DX, "dlogits = (p - t.astype(p.dtype)) * (dy * 0 + 1) / max(N, 1)",
            "dy is not multiplied in: the loss need not be the last thing computed, dx = dy (p - t) / N."),
    mistake("smoothing_forgotten_in_backward", T, "t = np.where(true, 1.0, 0.0)",
            "The gradient is that of the unsmoothed loss: t = (1 - ε) [c = label] + ε / C here, too."),
    mistake("smoothing_of_others_in_backward", T, "t = np.where(true, 1 - eps, eps / max(C - 1, 1))",
            "In the gradient, ε is shared among the C - 1 wrong classes: each of all C gets ε / C."),
    convention("clipped", LOGP, "logp = np.log(np.clip(np.exp(log_softmax.forward(logits)[0]), 1e-7, 1 - 1e-7))",
               "Probabilities are kept within 10⁻⁷ of 0 and 1 before the logarithm, so no loss exceeds 16; "
               "here the logarithm is exact.", by="keras, for probabilities"),
]


def both_ends(rng):
    """labels at both ends, one class more often than others"""
    return (rng.normal(size=(5, 4)),), {"labels": np.array([0, 3, 3, 0, 1])}


def smoothed(rng):
    """label smoothing: how much each class gets"""
    return (rng.normal(size=(3, 5)),), {"labels": np.array([4, 0, 2]), "label_smoothing": 0.25}


def all_smoothed(rng):
    """label smoothing 1: no class is right"""
    return (rng.normal(size=(3, 4)),), {"labels": np.array([1, 3, 0]), "label_smoothing": 1.0}


def confident(rng, precision):
    """far from right and sure of it: probabilities that underflow"""
    x = rng.normal(size=(4, 3))
    x[:2, 1] += 1.3 * precision.log_max + 20
    x[2:, 1] -= 1.3 * precision.log_max + 20
    return (x,), {"labels": np.array([0, 1, 1, 2])}


def many_classes(rng):
    """fewer examples than classes, and one example only"""
    return (2 * rng.normal(size=(1, 9)),), {"labels": np.array([8]), "label_smoothing": 0.125}


CASES = [both_ends, smoothed, all_smoothed, confident, many_classes]

ALIASES = {"target": "labels", "targets": "labels", "y_true": "labels", "eps": "label_smoothing"}
