"""Photographs to look at: the two that scikit-learn ships, and the reader's own."""

import warnings
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visattn._extras import need
from visattn.data._data import Array

PHOTOS = {
    "china": 'Photo "china": danielbuechele, CC BY 2.0, https://www.flickr.com/photos/danielbuechele/6061409035/',
    "flower": 'Photo "flower": vultilion, CC BY 2.0, https://www.flickr.com/photos/vultilion/6056698931/',
}
LARGEST = 64_000_000                     # pixels


class Photo(NamedTuple):
    name: str
    x: Array                             # (3, H, W) float32 in [0, 1]
    attribution: str                     # to be shown wherever the photograph is


def load(name: str = "china") -> Photo:
    """"china", a temple roof, or "flower", a dahlia; both (3, 427, 640)."""
    if name not in PHOTOS:
        raise ValueError(f"there is no photo {name!r}: choose one of {', '.join(PHOTOS)}")
    image = need("sklearn.datasets").load_sample_image(f"{name}.jpg")
    return Photo(name, _scaled(image, 255), PHOTOS[name])


def open_image(path: str | PathLike[str]) -> Array:
    """(3, H, W) float32 in [0, 1] of a PNG or JPEG file: upright, and over white where it is transparent.

    raises  FileNotFoundError where there is no such file, ValueError where it is not a whole image
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if not path.is_file():
        raise ValueError(f"{path}: not a file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    images, ops = need("PIL.Image"), need("PIL.ImageOps")
    try:
        with warnings.catch_warnings(action="ignore"), images.open(path, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > LARGEST:
                raise ValueError(f"{image.width} × {image.height} pixels are more than {LARGEST:,}")
            return _decoded(ops.exif_transpose(image))
    except PermissionError:
        raise PermissionError(f"{path}: you may not read this file") from None
    except images.UnidentifiedImageError:
        raise ValueError(f"{path}: not a PNG or JPEG image") from None
    except Exception as error:           # what a decoder raises at a broken file depends on where it is broken
        raise ValueError(f"{path}: cannot be read as an image: {' '.join(str(error).split())}") from None


def _decoded(image) -> Array:
    if image.mode.startswith("I"):                           # 16-bit grey
        grey = _scaled(np.array(image)[:, :, None], 65535)
        return np.broadcast_to(grey, (3, *grey.shape[1:])).copy()
    if "A" in image.mode or "transparency" in image.info:
        rgba = _scaled(np.array(image.convert("RGBA")), 255)
        return rgba[3] * rgba[:3] + (1 - rgba[3])
    return _scaled(np.array(image.convert("RGB")), 255)


def _scaled(image: Array, largest: int) -> Array:
    """(H, W, C) integers -> (C, H, W) float32 in [0, 1]."""
    return np.ascontiguousarray((image.transpose(2, 0, 1) / largest).astype(np.float32))
