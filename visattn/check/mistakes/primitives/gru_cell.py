"""What goes wrong in a step of a gated recurrent unit."""

from visattn.check.changes import convention, mistake

R = "r, _ = sigmoid.forward(a[:, :E] + u[:, :E])"
Z = "z, _ = sigmoid.forward(a[:, E:2 * E] + u[:, E:2 * E])"
N = "n = np.tanh(a[:, 2 * E:] + r * un)"
H1 = "h1 = (1 - z) * n + z * h"
DAN = "dan = dh1 * (1 - z) * (1 - n * n)"
DAR = "dar = dan * un * r * (1 - r)"
DAZ = "daz = dh1 * (h - n) * z * (1 - z)"
OUT = "return dx, dh + dh1 * z, dwx, dwh, dbx, dbh"

CHANGES = [
    mistake("mixed_the_other_way", H1, "h1 = z * n + (1 - z) * h",
            "The update gate works the other way around: where z is 1 the old state is kept, h′ = (1 - z) ⊙ n + z ⊙ "
            "h."),
    mistake("reset_forgotten", N, "n = np.tanh(a[:, 2 * E:] + un)",
            "The reset gate has no effect on the candidate: n = tanh(a_n + r ⊙ u_n)."),
    mistake("reset_of_the_input", N, "n = np.tanh(r * (a[:, 2 * E:] + un))",
            "The reset gate multiplies what comes from x, too: it resets the old state alone, n = tanh(a_n + r ⊙ "
            "u_n)."),
    mistake("no_tanh", N, "n = a[:, 2 * E:] + r * un",
            "The tanh of the candidate is missing, and the state has no limit: n = tanh(a_n + r ⊙ u_n)."),
    mistake("tanh_not_differentiated", DAN, "dan = dh1 * (1 - z)",
            "The gradient passes tanh as if it were not there: da_n = dn ⊙ (1 - n²)."),
    mistake("dn_with_the_wrong_gate", DAN, "dan = dh1 * z * (1 - n * n)",
            "The candidate's gradient is multiplied by z: h′ = (1 - z) n + z h gives dn = dh′ ⊙ (1 - z)."),
    mistake("dr_with_the_state", DAR, "dar = dan * h * r * (1 - r)",
            "dr is taken with h: r was multiplied by u_n = W_h h + b_h, so dr = da_n ⊙ u_n."),
    mistake("dr_without_the_slope", DAR, "dar = dan * un * r",
            "The derivative of the reset gate's sigmoid lacks its second factor: da_r = dr ⊙ r (1 - r)."),
    mistake("dz_with_the_wrong_sign", DAZ, "daz = dh1 * (n - h) * z * (1 - z)",
            "dz has the wrong sign: h′ = (1 - z) n + z h gives dz = dh′ ⊙ (h - n)."),
    mistake("dz_without_the_slope", DAZ, "daz = dh1 * (h - n) * z",
            "The derivative of the update gate's sigmoid lacks its second factor: da_z = dz ⊙ z (1 - z)."),
    mistake("du_without_reset", "du = np.concatenate([dar, daz, dan * r], 1)",
            "du = np.concatenate([dar, daz, dan], 1)",
            "The candidate's gradient reaches W_h without the reset gate: du_n = da_n ⊙ r."),
    mistake("old_state_kept_is_forgotten", OUT, "return dx, dh, dwx, dwh, dbx, dbh",
            "dh lacks its direct way: h fed the gates and h′ itself, dh = du W_h + dh′ ⊙ z. "
            "It is the way on which gradients survive."),
    mistake("only_the_old_state_kept", OUT, "return dx, dh1 * z, dwx, dwh, dbx, dbh",
            "dh lacks what came through the gates: h fed them and h′ itself, dh = du W_h + dh′ ⊙ z."),
    convention("reset_before", N, "n = np.tanh(a[:, 2 * E:] + (r * h) @ wh[2 * E:].T + bh[2 * E:])",
               "The reset gate is applied to h before the product, as in the paper: tanh(a_n + W_h (r ⊙ h)); "
               "here it resets W_h h + b_h.", by="keras with reset_after=False"),
    convention("blocks_z_r_n", R + "\n" + Z,
               "r, _ = sigmoid.forward(a[:, E:2 * E] + u[:, E:2 * E])\nz, _ = sigmoid.forward(a[:, :E] + u[:, :E])",
               "The blocks of the weights come in the order z, r, n; here it is r, z, n.", by="keras"),
]


def weights(rng, D, E, size=1.0):
    return tuple(size * rng.normal(size=shape) for shape in ((3 * E, D), (3 * E, E), (3 * E,), (3 * E,)))


def square(rng):
    """as many inputs as features of the state: weights that are exchanged"""
    return (rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), *weights(rng, 4, 4)), {}


def large_gates(rng):
    """gates fully open and fully shut, candidates at ±1: derivatives that vanish"""
    return (rng.normal(size=(2, 5)), rng.normal(size=(2, 3)), *weights(rng, 5, 3, 8.0)), {}


def from_nothing(rng):
    """the first step, from a state of zeros"""
    return (rng.normal(size=(2, 4)), 0 * rng.normal(size=(2, 3)), *weights(rng, 4, 3)), {}


CASES = [square, large_gates, from_nothing]

ALIASES = {"w_ih": "wx", "w_hh": "wh", "b_ih": "bx", "b_hh": "bh", "hx": "h"}
