"""An image as a line of tokens, and back: each is the other's inverse, and its transpose."""


def as_tokens(x):
    """(N, C, H, W) to (N, P, C): the pixels in one line, row after row."""
    N, C, H, W = x.shape
    return x.reshape(N, C, H * W).swapaxes(1, 2)


def as_image(tokens, x):
    """(N, P, O) to (N, O, H, W), with H and W those of x."""
    N, _, O = tokens.shape
    return tokens.swapaxes(1, 2).reshape(N, O, *x.shape[2:])
