"""What goes wrong in the non-local block."""

from visattn.check.changes import convention, equal, mistake

TOKENS = "tokens = as_tokens(x)"
P = "p = WEIGH[form](theta, phi, w_f)"
WY = "wy, of_z = linear.forward(p @ g, w_z)"
Z = "z = as_image(wy, x) + x"
DY = "dy, dw_z = linear.backward(as_tokens(dz), of_z)"
DG = "dg = p.swapaxes(1, 2) @ dy"
DOT = "return theta @ phi.swapaxes(1, 2) / theta.shape[1]"
DOT_BACK = "return dp @ phi / P, dp.swapaxes(1, 2) @ theta / P"
PAIRS = "return np.maximum((theta @ w_f[:M])[:, :, None] + (phi @ w_f[M:])[:, None, :], 0) / P"
DA = "da = dp * (p > 0) / P"
FORMS = """
WEIGH = {"gaussian": gaussian, "embedded_gaussian": gaussian,
"dot_product": dot_product, "concatenation": concatenation}
TRANSPOSE = {"gaussian": gaussian_backward, "embedded_gaussian": gaussian_backward,
"dot_product": dot_product_backward, "concatenation": concatenation_backward}"""


def forms(**chosen):
    """The tables with another function for some of the forms, and its own gradient."""
    names = {name: chosen.get(name, "gaussian" if "gaussian" in name else name)
             for name in ("gaussian", "embedded_gaussian", "dot_product", "concatenation")}
    return "\n".join(f"{table} = {{{', '.join(f'{key!r}: {value}{end}' for key, value in names.items())}}}"
                     for table, end in (("WEIGH", ""), ("TRANSPOSE", "_backward")))


def scaled(in_cache, in_forward):
    """The embedded Gaussian with its scores divided by the root of a number: W_θ divided, and its gradient."""
    return f"""
right_forward, right_backward = forward, backward


def forward(x, w_g, w_z, w_theta=None, w_phi=None, w_f=None, *, form):
    if form == "embedded_gaussian":
        w_theta = w_theta * ({in_forward}) ** -0.5
    return right_forward(x, w_g, w_z, w_theta, w_phi, w_f, form=form)


def backward(dz, cache):
    dx, dw_g, dw_z, *more = right_backward(dz, cache)
    if cache.form == "embedded_gaussian":
        more[0] = more[0] * ({in_cache}) ** -0.5
    return dx, dw_g, dw_z, *more


def example(rng):"""


CHANGES = [
    mistake("no_residual", Z, "z = as_image(wy, x)",
            "x itself is not added: z = W_z y + x. Without it the block cannot start as the identity.", see="eq. (6)"),
    mistake("residual_of_y", WY, "y = p @ g\nwy, of_z = linear.forward(y, w_z)\nwy = wy + y",
            "The mean y is added where x should be: z = W_z y + x.", see="eq. (6)"),
    mistake("tokens_by_reshape", TOKENS, "tokens = x.reshape(len(x), -1, x.shape[1])",
            "The image becomes tokens by a reshape to (N, P, C), which mixes channels and pixels. Reshape to (N, C, P) "
            "first, then exchange the last two axes."),
    mistake("image_by_reshape", Z, "z = wy.reshape(x.shape) + x",
            "The tokens become an image by a reshape alone, which mixes channels and pixels. Exchange the last two "
            "axes first, back to (N, C, P)."),
    mistake("map_transposed", WY, "wy, of_z = linear.forward(p.swapaxes(1, 2) @ g, w_z)",
            "The map is transposed: position i collects with the weights that others give to it, which do not sum to "
            "1. It is y_i = Σ_j p_ij g_j.", see="eq. (1)"),
    mistake("theta_and_phi_exchanged", P, "p = WEIGH[form](phi, theta, w_f)",
            "θ and φ are exchanged: row i of the scores belongs to θ_i, column j to φ_j.", see="eqs. (2)-(5)"),
    mistake("dot_product_by_softmax", FORMS, forms(dot_product="gaussian"),
            "The dot products go through a softmax. In this form they are divided by P, the number of positions, and "
            "may be negative.", see="eq. (4)"),
    mistake("gaussian_by_count", FORMS, forms(embedded_gaussian="dot_product"),
            "The scores are divided by P, the number of positions. In the embedded Gaussian form they go through a "
            "softmax.", see="eq. (3)"),
    mistake("concatenation_by_softmax", PAIRS, """
a = np.maximum((theta @ w_f[:M])[:, :, None] + (phi @ w_f[M:])[:, None, :], 0)
return softmax.forward(a)[0]""",
            "The scores of the concatenation go through a softmax. In this form they are divided by P, the number of "
            "positions.", see="eq. (5)"),
    mistake("dot_product_undivided", DOT, "return theta @ phi.swapaxes(1, 2)",
            "The dot products are not divided by P, the number of positions: y grows with the size of the image.",
            see="eq. (4)"),
    mistake("dot_product_by_channels", DOT, "return theta @ phi.swapaxes(1, 2) / theta.shape[2]",
            "The dot products are divided by the number of channels. It is C(x) = P, the number of positions.",
            see="eq. (4)"),
    mistake("concatenation_undivided", PAIRS, PAIRS.removesuffix(" / P"),
            "The scores are not divided by P, the number of positions: y grows with the size of the image.",
            see="eq. (5)"),
    mistake("no_relu", PAIRS, PAIRS.replace("np.maximum(", "(").replace(", 0)", ")"),
            "The scores of the concatenation have no ReLU: f = ReLU(w_f · [θ_i ‖ φ_j]).", see="eq. (5)"),
    mistake("halves_exchanged", PAIRS, PAIRS.replace("w_f[:M]", "w_f[:]").replace("w_f[M:]", "w_f[:M]")
            .replace("w_f[:]", "w_f[M:]"),
            "The first half of w_f meets φ and the second θ: the pair is [θ_i ‖ φ_j].", see="eq. (5)"),
    convention("scaled_by_channels_of_x", "def example(rng):", scaled("cache.x.shape[1]", "x.shape[1]"),
               "The scores are divided by the root of the channels of x. The paper has no scale.", by="timm"),
    convention("scaled", "def example(rng):", scaled("cache.theta.shape[2]", "len(w_g)"),
               "The scores of the embedded Gaussian are divided by the root of the channels of θ, as attention has it. "
               "The paper has no scale.", by="mmcv"),

    # backward
    mistake("residual_without_gradient", DY, f"{DY}\ndz = 0 * dz",
            "dx lacks the gradient of the residual: z = W_z y + x, and dz itself is a part of dx."),
    mistake("dg_untransposed", DG, "dg = p @ dy",
            "dg is p dy, and should be pᵀ dy: position j collects from all those that it gave to."),
    mistake("dphi_untransposed", "return da @ phi, da.swapaxes(1, 2) @ theta", "return da @ phi, da @ theta",
            "dφ is da θ, and should be daᵀ θ: position j collects from the rows i."),
    mistake("dtheta_dphi_exchanged", "dtheta, dphi, *dw_f = TRANSPOSE[form](dp, p, theta, phi, w_f)",
            "dphi, dtheta, *dw_f = TRANSPOSE[form](dp, p, theta, phi, w_f)",
            "dθ and dφ are exchanged: each goes back through the weights of the other."),
    mistake("dot_product_gradient_undivided", DOT_BACK, "return dp @ phi, dp.swapaxes(1, 2) @ theta",
            "dθ and dφ lack the division by P: p = θ φᵀ / P."),
    mistake("dot_product_dphi_untransposed", DOT_BACK, "return dp @ phi / P, dp @ theta / P",
            "dφ is dp θ / P, and should be dpᵀ θ / P: position j collects from the rows i."),
    mistake("concatenation_gradient_undivided", DA, "da = dp * (p > 0)",
            "The gradient of the scores lacks the division by P, the number of positions."),
    mistake("relu_without_derivative", DA, "da = dp / P",
            "The derivative of ReLU is missing: no gradient passes where the score was cut off."),
    mistake("ds_dt_exchanged", "ds, dt = da.sum(2)[:, :, None], da.sum(1)[:, :, None]",
            "ds, dt = da.sum(1)[:, :, None], da.sum(2)[:, :, None]",
            "The sums over rows and columns are exchanged: s_i serves row i, so ds_i = Σ_j da_ij."),
    mistake("dw_f_halves_exchanged",
            "dw_f = np.concatenate([(ds * theta).sum((0, 1)), (dt * phi).sum((0, 1))])",
            "dw_f = np.concatenate([(dt * phi).sum((0, 1)), (ds * theta).sum((0, 1))])",
            "The halves of dw_f are exchanged: first that of θ, then that of φ."),
    mistake("gaussian_gradient_of_rows_only", "return dz + as_image(dtokens + dtheta + dphi, x), dw_g, dw_z",
            "return dz + as_image(dtokens + dtheta, x), dw_g, dw_z",
            "In the Gaussian form x is both θ and φ: dx lacks what comes through φ."),
    mistake("gradient_of_g_only",
            "return dz + as_image(dtokens + of_x + and_x, x), dw_g, dw_z, dw_theta, dw_phi, *dw_f",
            "return dz + as_image(dtokens, x), dw_g, dw_z, dw_theta, dw_phi, *dw_f",
            "dx lacks what comes through the map: x fed θ and φ as well as g, and their gradients add."),
    mistake("gradient_of_phi_lost",
            "return dz + as_image(dtokens + of_x + and_x, x), dw_g, dw_z, dw_theta, dw_phi, *dw_f",
            "return dz + as_image(dtokens + of_x, x), dw_g, dw_z, dw_theta, dw_phi, *dw_f",
            "dx lacks what comes through φ: x fed θ, φ and g, and their gradients add."),

    # as good
    equal("divided_first", DOT, "return (theta / theta.shape[1]) @ phi.swapaxes(1, 2)"),
    equal("divided_last", WY, """
wy, of_z = linear.forward(p @ g, w_z)
if form in ("dot_product", "concatenation"):
    wy, _ = linear.forward((p * g.shape[1]) @ g / g.shape[1], w_z)"""),
    equal("gradients_divided_first", DOT_BACK, "return dp / P @ phi, dp.swapaxes(1, 2) / P @ theta"),
]


def made(rng, form, N=2, C=4, H=2, W=3, M=3):
    """An image and the weights that a form takes, none of them zero."""
    x = rng.normal(size=(N, C, H, W))
    w_g, w_theta, w_phi = (rng.normal(size=(M, C)) / C ** 0.5 for _ in range(3))
    w_z, w_f = rng.normal(size=(C, M)) / M ** 0.5, rng.normal(size=2 * M)
    more = {"gaussian": (), "concatenation": (w_theta, w_phi, w_f)}.get(form, (w_theta, w_phi))
    return (x, w_g, w_z, *more), {"form": form}


def gaussian(rng):
    """exponentials of products of the pixels themselves"""
    return made(rng, "gaussian")


def embedded_gaussian(rng):
    """softmax of products of two projections"""
    return made(rng, "embedded_gaussian")


def dot_product(rng):
    """products of two projections, divided by the number of positions"""
    return made(rng, "dot_product")


def concatenation(rng):
    """ReLU of a weighted sum of both projections, divided by the number of positions"""
    return made(rng, "concatenation")


def embedded_gaussian_odd(rng):
    """one channel inside, five outside, an image of 5 × 3"""
    return made(rng, "embedded_gaussian", C=5, H=5, W=3, M=1)


def dot_product_odd(rng):
    """as many channels as positions in a row, and not as many as positions"""
    return made(rng, "dot_product", C=3, H=3, W=2, M=5)


def concatenation_same_channels(rng):
    """as many channels inside as outside"""
    return made(rng, "concatenation", C=3, H=3, W=4, M=3)


def one_channel(rng):
    """a single channel, in and out"""
    return made(rng, "embedded_gaussian", C=1, M=1)


def one_pixel(rng):
    """a single pixel, that attends to itself"""
    return made(rng, "embedded_gaussian", H=1, W=1)


def overflow(rng, precision):
    """scores above the logarithm of the largest number: softmax without its maximum"""
    (x, *weights), options = made(rng, "gaussian", C=2, M=2)
    x[:, 0] = (1.1 * precision.log_max) ** 0.5
    return (x, *weights), options


CASES = [gaussian, embedded_gaussian, dot_product, concatenation, embedded_gaussian_odd, dot_product_odd,
         concatenation_same_channels, one_channel, one_pixel, overflow]

ALIASES = {"mode": "form", "w_out": "w_z", "w_w": "w_z"}
