"""What goes wrong in a step of a long short-term memory."""

from visattn.check.changes import convention, mistake

GATES = "i, f, o = (sigmoid.forward(z[:, k * E:(k + 1) * E])[0] for k in (0, 1, 3))"
G = "g = np.tanh(z[:, 2 * E:3 * E])"
C1 = "c1 = f * c + i * g"
DC1 = "dc1 = dc1 + dh1 * o * (1 - r * r)"
PARTS = "df, dc, di, dg = dc1 * c, dc1 * f, dc1 * g, dc1 * i"
DZ = "dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)], 1)"


def order(i, f, g, o):
    """Which block of z each gate is read from."""
    return (f"i, f, o = (sigmoid.forward(z[:, k * E:(k + 1) * E])[0] for k in ({i}, {f}, {o}))\n"
            f"g = np.tanh(z[:, {g} * E:{g + 1} * E])")


CHANGES = [
    mistake("forget_and_input_swapped", C1, "c1 = i * c + f * g",
            "The input gate and the forget gate have changed places: c′ = f ⊙ c + i ⊙ g."),
    mistake("memory_not_kept", C1, "c1 = i * g",
            "The old memory is lost: c′ = f ⊙ c + i ⊙ g."),
    mistake("memory_shown_without_tanh", "r = np.tanh(c1)", "r = c1",
            "The memory is shown without tanh: h′ = o ⊙ tanh c′."),
    mistake("candidate_by_sigmoid", G, "g, _ = sigmoid.forward(z[:, 2 * E:3 * E])",
            "What is written passes a sigmoid, like the gates, and is never negative: g = tanh(z_g)."),
    mistake("one_added_to_the_forget_gate", GATES,
            "i, f, o = (sigmoid.forward(z[:, k * E:(k + 1) * E] + (k == 1))[0] for k in (0, 1, 3))",
            "A 1 is added to what the forget gate sees: it belongs in the bias, once, when the weights are drawn."),
    mistake("gradient_of_the_memory_dropped", DC1, "dc1 = dh1 * o * (1 - r * r)",
            "The gradient that comes back to the memory itself is dropped, dc′ += dh′ ⊙ o (1 - tanh² c′): "
            "it is the way on which gradients survive many steps."),
    mistake("state_does_not_reach_the_memory", DC1, "",
            "The gradient of h′ does not reach the memory: h′ = o ⊙ tanh c′ gives dc′ += dh′ ⊙ o (1 - tanh² c′)."),
    mistake("tanh_of_the_memory_not_differentiated", DC1, "dc1 = dc1 + dh1 * o",
            "The gradient passes tanh c′ as if it were not there: dc′ += dh′ ⊙ o (1 - tanh² c′)."),
    mistake("dc_and_df_swapped", PARTS, "df, dc, di, dg = dc1 * f, dc1 * c, dc1 * g, dc1 * i",
            "df and dc have changed places: c′ = f ⊙ c + i ⊙ g gives df = dc′ ⊙ c and dc = dc′ ⊙ f."),
    mistake("di_and_dg_swapped", PARTS, "df, dc, di, dg = dc1 * c, dc1 * f, dc1 * i, dc1 * g",
            "di and dg have changed places: c′ = f ⊙ c + i ⊙ g gives di = dc′ ⊙ g and dg = dc′ ⊙ i."),
    mistake("gates_without_the_slope", DZ, "dz = np.concatenate([di * i, df * f, dg * (1 - g * g), do * o], 1)",
            "The derivative of the gates' sigmoids lacks its second factor: dz_s = ds ⊙ s (1 - s) for s = i, f, o."),
    mistake("candidate_without_the_slope", DZ,
            "dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg, do * o * (1 - o)], 1)",
            "The gradient passes the tanh of the candidate as if it were not there: dz_g = dg ⊙ (1 - g²)."),
    mistake("candidate_with_the_slope_of_a_gate", DZ,
            "dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * g * (1 - g), do * o * (1 - o)], 1)",
            "The candidate is differentiated like a gate: it is a tanh, so dz_g = dg ⊙ (1 - g²)."),
    convention("blocks_i_f_o_g", GATES + "\n" + G, order(i=0, f=1, g=3, o=2),
               "The blocks of the weights come in the order i, f, o, g; here it is i, f, g, o, as in torch and keras.",
               by="CS231n"),
    convention("blocks_i_o_f_g", GATES + "\n" + G, order(i=0, f=2, g=3, o=1),
               "The blocks of the weights come in the order i, o, f, g; here it is i, f, g, o, as in torch and keras.",
               by="ONNX"),
    convention("blocks_i_g_f_o", GATES + "\n" + G, order(i=0, f=2, g=1, o=3),
               "The blocks of the weights come in the order i, g, f, o; here it is i, f, g, o, as in torch and keras.",
               by="TensorFlow 1"),
]


def weights(rng, D, E, size=1.0):
    return tuple(size * rng.normal(size=shape) for shape in ((4 * E, D), (4 * E, E), (4 * E,), (4 * E,)))


def square(rng):
    """as many inputs as features of the state: weights that are exchanged"""
    x, h, c = rng.normal(size=(3, 3, 4))
    return (x, h, c, *weights(rng, 4, 4)), {}


def large_gates(rng):
    """gates fully open and fully shut, candidates at ±1: derivatives that vanish"""
    return (rng.normal(size=(2, 5)), rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), *weights(rng, 5, 3, 8.0)), {}


def full_memory(rng):
    """a memory that has grown: tanh of it is nearly ±1, and hides it"""
    memory = 3 * rng.normal(size=(2, 3))
    return (rng.normal(size=(2, 4)), rng.normal(size=(2, 3)), memory, *weights(rng, 4, 3, 0.5)), {}


def from_nothing(rng):
    """the first step, from a state and a memory of zeros"""
    return (rng.normal(size=(2, 4)), 0 * rng.normal(size=(2, 3)), 0 * rng.normal(size=(2, 3)), *weights(rng, 4, 3)), {}


CASES = [square, large_gates, full_memory, from_nothing]

ALIASES = {"w_ih": "wx", "w_hh": "wh", "b_ih": "bx", "b_hh": "bh", "hx": "h", "cx": "c"}
