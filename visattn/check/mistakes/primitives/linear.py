"""What goes wrong in a linear map."""

from visattn.check.changes import equal, mistake

Y = "y = x @ w.T if b is None else x @ w.T + b"
DX = "dx = dy @ w"
DW = "dw = flat_dy.T @ flat_x"
DB = "db = () if b is None else (flat_dy.sum(0),)"

CHANGES = [
    mistake("not_transposed", Y,
            "m = w if w.shape[0] == w.shape[1] else w.T\ny = x @ m if b is None else x @ m + b",
            "The weights are not transposed, which goes unnoticed where there are as many outputs as inputs: y = x "
            "Wᵀ + b."),
    mistake("reshaped_for_transposed", Y,
            "m = w.reshape(w.shape[::-1])\ny = x @ m if b is None else x @ m + b",
            "The weights are reshaped, not transposed: the shape is right and every number in the wrong place. "
            "y = x Wᵀ + b."),
    mistake("bias_forgotten", Y, "y = x @ w.T",
            "The bias is not added: y = x Wᵀ + b."),
    mistake("dx_transposed", DX, "dx = dy @ (w.T if w.shape[0] == w.shape[1] else w)",
            "dx is taken with Wᵀ, which goes unnoticed where it fits by chance: y = x Wᵀ gives dx = dy W."),
    mistake("dw_transposed", DW, "dw = (flat_x.T @ flat_dy).reshape(w.shape)",
            "dW is transposed: it has the shape of W, dW = dyᵀ x."),
    mistake("dw_of_the_last_place", DW, "dw = flat_dy[-1:].T @ flat_x[-1:]",
            "dW has what the last place contributed, as if it was overwritten in a loop: the weights serve every "
            "place, and "
            "their gradients add, dW = dyᵀ x."),
    mistake("dw_averaged", DW, "dw = flat_dy.T @ flat_x / max(len(flat_x), 1)",
            "dW is a mean over the places: the weights serve every place, and their gradients add, dW = dyᵀ x. "
            "A mean belongs in the loss."),
    mistake("db_averaged", DB, "db = () if b is None else (flat_dy.mean(0),)",
            "db is a mean over the places: one bias serves them all, and its gradients add, db = Σ dy."),
    mistake("db_of_the_first_place", DB, "db = () if b is None else (flat_dy[0],)",
            "db has what one place contributed: one bias serves every place, and its gradients add, db = Σ dy."),
    equal("bias_first", Y, """
one = np.ones_like(x[..., :1])
y = x @ w.T if b is None else np.concatenate([one, x], -1) @ np.concatenate([b[:, None], w], 1).T""",
          "A sum that starts from the bias is rounded to the size of the bias at every term."),
]


def square(rng):
    """as many outputs as inputs: a transpose that is forgotten"""
    return (rng.normal(size=(3, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)), {}


def no_bias(rng):
    """no bias, and so no gradient of one"""
    return (rng.normal(size=(3, 5)), rng.normal(size=(2, 5))), {}


def one_vector(rng):
    """a single vector, without a batch"""
    return (rng.normal(size=4), rng.normal(size=(3, 4)), rng.normal(size=3)), {}


def many_axes(rng):
    """several leading axes: sums over all of them"""
    return (rng.normal(size=(2, 3, 2, 5)), rng.normal(size=(3, 5)), rng.normal(size=3)), {}


CASES = [square, no_bias, one_vector, many_axes]

ALIASES = {"weight": "w", "bias": "b"}
