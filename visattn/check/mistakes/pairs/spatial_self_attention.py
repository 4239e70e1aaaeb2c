"""What goes wrong in spatial self-attention."""

from visattn.check.changes import convention, equal, mistake

TOKENS = "tokens = as_tokens(x)"
MEAN = "mean, c_mean = attention.forward(q, k, tokens, scale=1)"
Y = "y, c_y = linear.forward(mean, w_o)"
RETURN = "return as_image(y, x), Cache(x, w_o, c_mean.p, c_k, c_q, c_mean, c_y)"
DX = "dx = as_image(dtokens + dtokens_q + dtokens_k, cache.x)"

CHANGES = [
    mistake("tokens_by_reshape", TOKENS, "tokens = x.reshape(len(x), -1, x.shape[1])",
            "The image becomes tokens by a reshape to (N, P, C), which mixes channels and pixels. Reshape to (N, C, P) "
            "first, then exchange the last two axes.", see="lesson 1"),
    mistake("columns_before_rows", TOKENS, "tokens = as_tokens(x.swapaxes(2, 3))",
            "The pixels stand in line column after column, and the image is put together again row after row."),
    mistake("image_by_reshape", RETURN, RETURN.replace("as_image(y, x)", "y.reshape(len(x), -1, *x.shape[2:])"),
            "The tokens become an image by a reshape alone, which mixes channels and pixels. Exchange the last two "
            "axes first, back to (N, C, P)."),
    mistake("roles_exchanged", MEAN, "mean, c_mean = attention.forward(k, q, tokens, scale=1)",
            "The keys ask and the queries answer: softmax runs over the wrong axis of q kᵀ, as it does with F_kᵀ F_q "
            "taken at its word.", see="lesson 1"),
    mistake("residual_added", RETURN, RETURN.replace("as_image(y, x)", "as_image(y, x) + x"),
            "The image itself is added to the output. These steps have no residual."),
    mistake("no_last_convolution", Y, f"{Y}\ny = mean",
            "The last convolution is missing: Y = X′ W_oᵀ.", see="lesson 1"),
    mistake("no_softmax", MEAN, """
mean, c_mean = attention.forward(q, k, tokens, scale=1)
mean = (q @ k.swapaxes(1, 2)) @ tokens""",
            "There is no softmax: the pixels are added up under the scores themselves.", see="lesson 1"),
    convention("scaled", MEAN, "mean, c_mean = attention.forward(q, k, tokens)",
               "The scores are divided by √D, as attention usually does. These steps have no scale.",
               by="torch.nn.functional.scaled_dot_product_attention", see="lesson 1"),
    mistake("gradient_of_values_only", DX, "dx = as_image(dtokens, cache.x)",
            "dx lacks what comes through the map: X fed the queries, the keys and the mean, and their gradients add.",
            see="lesson 1"),
    mistake("gradient_of_values_forgotten", DX, "dx = as_image(dtokens_q + dtokens_k, cache.x)",
            "dx lacks what comes through the mean: X fed the queries, the keys and the mean, and their gradients add."),
    mistake("gradient_of_keys_forgotten", DX, "dx = as_image(dtokens + dtokens_q, cache.x)",
            "dx lacks what comes through the keys: X fed the queries, the keys and the mean, and their gradients add."),
    mistake("dx_by_reshape", DX,
            "dx = (dtokens + dtokens_q + dtokens_k).reshape(cache.x.shape)",
            "dx becomes an image by a reshape alone, which mixes channels and pixels. Exchange the last two axes "
            "first."),
    mistake("dw_k_dw_q_exchanged", "return dx, dw_k, dw_q, dw_o", "return dx, dw_q, dw_k, dw_o",
            "dW_k and dW_q are given back in each other's place."),
    equal("convolution_before_the_mean", Y, f"""
{Y}
y = c_mean.p @ (tokens @ w_o.T)"""),
]


def made(rng, N=2, C=4, H=2, W=3, D=3, O=5):
    return (rng.normal(size=(N, C, H, W)), *(rng.normal(size=(n, C)) / C ** 0.5 for n in (D, D, O))), {}


def plain(rng):
    """all sizes different: what is exchanged with what"""
    return made(rng)


def channels_kept(rng):
    """as many channels out as in: a residual, a convolution that is missing"""
    return made(rng, O=4)


def tall(rng):
    """more rows than columns"""
    return made(rng, H=5, W=2)


def one_channel(rng):
    """a single channel, and one for the scores"""
    return made(rng, C=1, D=1, O=1)


def one_pixel(rng):
    """a single pixel, that attends to itself"""
    return made(rng, H=1, W=1)


def one_row(rng):
    """an image of a single row"""
    return made(rng, H=1, W=5)


def peaky(rng):
    """large scores: nearly all weight on one pixel"""
    (x, *weights), options = made(rng)
    return (3 * x, *weights), options


def overflow(rng, precision):
    """scores above the logarithm of the largest number: softmax without its maximum"""
    (x, w_k, w_q, w_o), options = made(rng, C=2, D=1)
    x[:, 0], w_k[:], w_q[:] = (1.1 * precision.log_max) ** 0.5, [[1, 0.125]], [[1, -0.125]]
    return (x, w_k, w_q, w_o), options


CASES = [plain, channels_kept, tall, one_channel, one_pixel, one_row, peaky, overflow]

ALIASES = {"wk": "w_k", "wq": "w_q", "wo": "w_o"}
