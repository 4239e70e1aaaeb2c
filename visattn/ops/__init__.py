"""The operators.  Each is a module: `y, cache = op.forward(*args)`, `grads = op.backward(dy, cache)`.

    primitives   what the others are made of
    gates        multiply features by weights
    pairs        every position looks at every position
    sampling     look at chosen coordinates
    recurrent    look, remember, look again

The letters of the axes, everywhere in the package:

    N  batch               C  channels            H, W  rows and columns of an image
    T  queries, steps      S  keys                D  features of a query or key      E  features of a value, outputs
    G  heads or groups     M  bottleneck          K  taps of a kernel, sample points  P  pixels, P = H·W
    L  levels              *B any leading axes    I, O  input channels of a group, output channels
    Ho, Wo  rows and columns of an output         Kh, Kw  rows and columns of a kernel
    V  words of a vocabulary

Images are (N, C, H, W), tokens (N, T, D), heads (N, G, T, D).
"""

from visattn._namespace import lazy

__getattr__, __dir__ = lazy(__name__, __path__)
