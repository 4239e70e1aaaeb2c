import io

import numpy as np
import pytest
from PIL import Image

from visattn.data import photos

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype("u1")


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


PNG, JPEG = encoded(Image.fromarray(PIXELS)), encoded(Image.fromarray(PIXELS), "JPEG")


@pytest.mark.parametrize("name", photos.PHOTOS)
def test_photos_come_with_their_attribution(name):
    photo = photos.load(name)
    assert photo.x.shape == (3, 427, 640)
    assert photo.x.dtype == np.float32
    assert 0 <= photo.x.min() < photo.x.max() <= 1
    assert "CC BY" in photo.attribution
    assert "flickr.com" in photo.attribution


def test_an_unknown_photo_is_refused_by_name():
    with pytest.raises(ValueError, match="no photo 'cat': choose one of china, flower"):
        photos.load("cat")


def test_a_png_is_its_pixels(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    x = photos.open_image(tmp_path / "a.png")
    assert x.dtype == np.float32
    assert np.array_equal(np.rint(x * 255).astype("u1"), PIXELS.transpose(2, 0, 1))


def test_the_name_of_the_file_does_not_matter(tmp_path):
    (tmp_path / "a.txt").write_bytes(JPEG)
    assert photos.open_image(str(tmp_path / "a.txt")).shape == (3, 40, 60)


def test_grey_16_bit_palette_and_transparent_images_become_rgb(tmp_path):
    grey = PIXELS[..., 0]
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    images = {"L": Image.fromarray(grey), "I;16": deep, "1": Image.fromarray(grey > 128),
              "P": Image.fromarray(PIXELS).quantize(16), "LA": Image.fromarray(grey).convert("LA"),
              "RGBA": Image.fromarray(np.dstack([PIXELS, np.zeros_like(grey)]))}
    for mode, image in images.items():
        assert image.mode == mode
        image.save(tmp_path / "a.png")
        x = photos.open_image(tmp_path / "a.png")
        assert x.shape == (3, 40, 60), mode
        assert x.dtype == np.float32, mode
        if mode in ("L", "I;16"):
            np.testing.assert_allclose(x, np.broadcast_to(grey / 255, x.shape), atol=1e-6, err_msg=mode)
        if mode == "RGBA":
            assert np.all(x == 1)                       # nothing there: the white below it


def test_a_photo_taken_sideways_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6                                    # turn a quarter clockwise to see it
    (tmp_path / "a.jpg").write_bytes(encoded(Image.fromarray(PIXELS), "JPEG", exif=exif))
    assert photos.open_image(tmp_path / "a.jpg").shape == (3, 60, 40)


BROKEN = {
    "empty": b"",
    "text": b"hello, I am no image\n" * 10,
    "truncated PNG": PNG[: len(PNG) // 2],
    "truncated JPEG": JPEG[: len(JPEG) // 2],
    "a header alone": PNG[:40],
    "a signature alone": PNG[:8],
    "corrupt PNG": PNG[:200] + bytes(100) + PNG[300:],
    "a GIF": encoded(Image.fromarray(PIXELS), "GIF"),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_clear_line(tmp_path, content):
    path = tmp_path / "cat.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cat\.png: ") as error:
        photos.open_image(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_one_clear_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cat\.png: there is no such file"):
        photos.open_image(tmp_path / "cat.png")
    with pytest.raises(ValueError, match="not a file"):
        photos.open_image(tmp_path)


def test_a_small_file_of_a_huge_image_is_refused_before_it_is_decoded(tmp_path):
    header = bytearray(PNG)
    header[16:24] = (30_000).to_bytes(4, "big") * 2
    import zlib

    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    (tmp_path / "cat.png").write_bytes(header)
    with pytest.raises(ValueError, match="pixels"):
        photos.open_image(tmp_path / "cat.png")
