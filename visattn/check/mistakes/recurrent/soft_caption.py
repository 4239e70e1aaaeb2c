"""What goes wrong in a look of Show, Attend and Tell."""

from visattn.check.changes import equal, mistake

BETA = "beta, _ = sigmoid.forward(gate)"
Z = "z = beta * seen"
DBETA = "dbeta = unbroadcast(dz * seen, beta.shape)"
DGATE = "dh_gate, dwb, dbb = linear.backward(dbeta * beta * (1 - beta), gate)"
LOOK = "dh, dkeys, dvalues, dwh, dwa, dv, db = additive.backward((beta * dz)[:, None, :], look)"
RETURN = "return dkeys + dvalues, dh[:, 0] + dh_gate, dwa, dwh, dv, db, dwb, dbb"

CHANGES = [
    mistake("no_gate", Z, "z = seen", "The gate is missing: ẑ = β s, with β = σ(f_β(h)).", see="section 4.2.1"),
    mistake("gate_without_sigmoid", BETA, "beta = gate",
            "The gate has no sigmoid: β = σ(f_β(h)) lies between 0 and 1.", see="section 4.2.1"),
    mistake("tanh_for_sigmoid", BETA, "beta = np.tanh(gate)",
            "The gate has a tanh where it should have a sigmoid: β = σ(f_β(h)) lies between 0 and 1.",
            see="section 4.2.1"),
    mistake("gate_inverted", Z, "z = (1 - beta) * seen",
            "The gate is turned around, 1 - β: where β is 1 the image should count in full.", see="section 4.2.1"),
    mistake("gate_added", Z, "z = beta + seen", "The gate is added to what is seen. It is multiplied: ẑ = β s.",
            see="section 4.2.1"),
    mistake("gate_twice", Z, "z = beta * beta * seen",
            "The gate is applied twice, to the annotations and to their mean: ẑ = β s.", see="section 4.2.1"),
    mistake("plain_mean", Z, "z = beta * a.mean(1)",
            "All places count alike: s is the mean weighted by α, s = Σ_i α_i a_i.", see="eq. (13)"),
    mistake("brightest_place", Z, "z = beta * a[np.arange(len(a)), alpha.argmax(1)]",
            "Only the place with the largest weight is read. Soft attention takes the mean, s = Σ_i α_i a_i.",
            see="eq. (13)"),
    mistake("sigmoid_weights", Z, """
e = np.tanh(a @ wa.T + (h @ wh.T)[:, None, :] + b) @ v
z = beta * np.einsum("np,npd->nd", sigmoid.forward(e)[0], a)""",
            "Every place has a weight of its own, by a sigmoid. α is a softmax over the places: the weights sum to 1.",
            see="eq. (5)"),

    # backward
    mistake("sigmoid_derivative_forgotten", DGATE, DGATE.replace("dbeta * beta * (1 - beta)", "dbeta"),
            "The derivative of the gate's sigmoid is missing: β (1 - β)."),
    mistake("tanh_derivative", DGATE, DGATE.replace("beta * (1 - beta)", "(1 - beta * beta)"),
            "The derivative of the gate is that of tanh, 1 - β². Of the sigmoid it is β (1 - β)."),
    mistake("dbeta_averaged", DBETA, f"{DBETA} * (beta.size / dz.size)",
            "dβ is averaged over the features. One gate serves all of them, and their gradients add."),
    mistake("dbeta_of_what_is_gated", DBETA, "dbeta = unbroadcast(dz * beta * seen, beta.shape)",
            "dβ is made of ẑ, which holds the gate already. It is Σ dẑ ⊙ s, with s as it was before the gate."),
    mistake("look_without_gate", LOOK, LOOK.replace("(beta * dz)", "dz"),
            "The gradient of what is seen lacks the gate: ds = β dẑ."),
    mistake("annotations_as_values_only", RETURN, RETURN.replace("dkeys + dvalues", "dvalues"),
            "da lacks what comes through the weights: the annotations are both what is compared and what is averaged, "
            "and their gradients add."),
    mistake("annotations_as_keys_only", RETURN, RETURN.replace("dkeys + dvalues", "dkeys"),
            "da lacks what comes through the mean: the annotations are both what is compared and what is averaged, and "
            "their gradients add."),
    mistake("state_without_gate", RETURN, RETURN.replace("dh[:, 0] + dh_gate", "dh[:, 0]"),
            "dh lacks what comes through the gate: the state says where to look and how much it counts."),
    mistake("state_of_gate_only", RETURN, RETURN.replace("dh[:, 0] + dh_gate", "dh_gate"),
            "dh lacks what comes through the weights α: the state says where to look and how much it counts."),

    # as good
    equal("annotations_gated_first", Z, "z = (alpha[:, None, :] @ (beta[:, None, :] * a))[:, 0]"),
]


def made(rng, N=2, P=5, D=3, E=4, M=3, gates=1):
    """Annotations, a state and weights, with biases that are not zero."""
    weights = [rng.normal(size=s) / s[-1] ** 0.5 for s in ((M, D), (M, E), (M,))]
    gate = rng.normal(size=(gates, E)) / E ** 0.5, rng.normal(size=gates)
    return (rng.normal(size=(N, P, D)), rng.normal(size=(N, E)), *weights, rng.normal(size=M), *gate), {}


def one_gate(rng):
    """one gate for all features, as in the paper: its gradient is a sum over them"""
    return made(rng)


def gate_for_each(rng):
    """a gate for each feature, as in widespread re-implementations"""
    return made(rng, gates=3)


def square(rng):
    """as many features of the state as of a place: weights in each other's place"""
    return made(rng, D=4, E=4, M=4)


def one_place(rng):
    """a single place: its weight is 1, whatever the state"""
    return made(rng, P=1)


def open_gate(rng):
    """a gate so far open that its derivative is nearly zero"""
    *rest, bb = made(rng)[0]
    return (*rest, bb + 12), {}


def closed_gate(rng):
    """a gate so far closed that the image hardly counts"""
    *rest, bb = made(rng)[0]
    return (*rest, bb - 8), {}


def one_place_wins(rng):
    """scores so far apart that one place has nearly all the weight"""
    a, h, wa, wh, v, *rest = made(rng, P=7)[0]
    return (a, h, wa, wh, 6 * v, *rest), {}


def many_places(rng):
    """48 places, none of which has a large weight"""
    return made(rng, N=1, P=48, D=5)


CASES = [one_gate, gate_for_each, square, one_place, open_gate, closed_gate, one_place_wins, many_places]

ALIASES = {"annotations": "a", "features": "a", "encoder_out": "a", "hidden": "h", "state": "h", "decoder_hidden": "h",
           "b_b": "bb", "w_b": "wb", "w_a": "wa", "w_h": "wh"}
