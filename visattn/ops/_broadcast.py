"""The transpose of broadcasting."""


def unbroadcast(g, shape):
    """Sum g over the axes along which an array of this shape was repeated: a value used twice adds up."""
    lead = g.ndim - len(shape)
    g = g.sum(axis=tuple(range(lead)))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1), keepdims=True)
