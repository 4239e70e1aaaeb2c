"""What goes wrong in an embedding."""

import numpy as np

from visattn.check.changes import convention, mistake

Y = "return w[ids], Cache(w, ids)"
DW = "np.add.at(dw, ids, dy)"

CHANGES = [
    mistake("overwritten", DW, "dw[ids] += dy",
            "A row that is read twice gets one of its gradients only: dw[ids] += dy keeps the last. "
            "They add, dw_v = Σ dy_t over all t with ids_t = v; np.add.at does that."),
    mistake("averaged_over_the_batch", DW, "np.add.at(dw, ids, dy / max(len(ids), 1))",
            "The gradient is divided by the length of the batch: dw_v = Σ dy_t. A mean belongs in the loss."),
    mistake("scaled", Y, "return w[ids] * w.shape[1] ** 0.5, Cache(w, ids)",
            "The rows are multiplied by √D, as the Transformer does after its embedding: y_t = w[ids_t]."),
    mistake("counted_from_one", Y, "return w[ids - 1], Cache(w, ids)",
            "The rows are counted from 1, and number 0 takes the last: y_t = w[ids_t] counts from 0."),
    convention("averaged_by_frequency", DW,
               "np.add.at(dw, ids, dy / np.bincount(ids.ravel())[ids][..., None].astype(dy.dtype))",
               "The gradients of a row are averaged over how often it was read; here they add.",
               by="torch.nn.Embedding with scale_grad_by_freq"),
    convention("row_of_padding", DW, "np.add.at(dw, ids, np.where((ids != 0)[..., None], dy, 0))",
               "Row 0 gets no gradient, as if it stood for padding; here it is a row like any other.",
               by="torch.nn.Embedding with padding_idx=0"),
]


def repeated(rng):
    """one number many times, among them the first row and the last: gradients that add"""
    V, D = 5, 3
    return (rng.normal(size=(V, D)),), {"ids": np.array([[0, 4, 2, 2], [4, 4, 0, 2]])}


def one_row_again_and_again(rng):
    """the same row everywhere, as many as there are features"""
    return (rng.normal(size=(3, 4)),), {"ids": np.array([1, 1, 1, 1])}


def three_axes(rng):
    """numbers with three axes"""
    return (rng.normal(size=(6, 2)),), {"ids": rng.integers(6, size=(2, 3, 2))}


CASES = [repeated, one_row_again_and_again, three_axes]

ALIASES = {"weight": "w", "table": "w", "indices": "ids", "tokens": "ids"}
