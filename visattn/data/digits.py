"""1,797 handwritten digits, 8 × 8, that scikit-learn ships.

Every fifth image of every class is held out.  The images come writer by writer, so every hand is in both sets; digits
by a hand never seen are harder.
"""

from visattn._extras import need
from visattn.data._data import Data, checksum, every_fifth, split

SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
ATTRIBUTION = ("Digits: E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning "
               "Repository, CC BY 4.0, as shipped by scikit-learn")


def load() -> Data:
    """1,442 training and 355 test images (N, 1, 8, 8)."""
    raw = need("sklearn.datasets").load_digits()
    images, labels = raw.images.astype("u1"), raw.target.astype("u1")
    if checksum(images, labels) != SHA256:
        raise ValueError("the digits of the installed scikit-learn are not the ones that visattn knows")
    train, test = split(images, labels, every_fifth(labels))
    return Data("digits", train, test, tuple("0123456789"), ATTRIBUTION)
