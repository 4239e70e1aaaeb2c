"""Golden vectors: what is in the files, that they are the same when made twice, and that damage is seen."""

import hashlib
import json
import zipfile

import numpy as np
import pytest

from visattn import ops, tree
from visattn.check import cases, tolerance, vectors

OPERATORS = ["attention", "lstm_cell", "spatial_transformer"]   # options that are arrays; several outputs; a tree


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """{operator: folder} of a few small vectors."""
    return {op: vectors.write(op, tmp_path_factory.mktemp("vectors") / op, ("float32", "bfloat16"), only=["plain_0"])
            for op in OPERATORS}


@pytest.fixture
def folder(tmp_path):
    return vectors.write("softmax", tmp_path / "softmax", ["float32"], ["npz"], only=["plain_0", "bare"])


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("name", OPERATORS)
def test_the_arrays_are_the_case_s_and_the_bounds_the_tolerance_s(made, name):
    index = vectors.check(made[name])
    module = vectors.catalogue.select([name])[0]
    for entry in index["cases"]:
        case, = cases.cases(module, entry["precision"], names=[entry["name"]])
        right = tolerance.bounds(module, case.args, case.options, case.dy, entry["precision"])
        found = dict(np.load(made[name] / f"{entry['precision']}-plain_0.npz"))
        assert set(found) == set(entry["arrays"])
        for key, a in found.items():
            assert entry["arrays"][key] == {"shape": list(a.shape), "dtype": a.dtype.name}
        for prefix, values in (("arg.", case.args), ("dy", case.dy)):
            mine = [a for key, a in found.items() if key.startswith(prefix)]
            for a, b in zip(mine, tree.leaves(values), strict=True):
                np.testing.assert_array_equal(a, b)                     # rounding to the dtype changed nothing
                assert a.dtype == (np.float32 if b.dtype.kind == "f" else b.dtype)
        for part, leaves in right.parts().items():
            key = "y" if part == "y" else f"grad.{part[1:]}"
            mine = [k for k in found if k == key or k.startswith(key + ".")]
            for k, leaf in zip(mine, leaves, strict=True):
                np.testing.assert_array_equal(found[k], leaf.value)
                np.testing.assert_array_equal(found[f"bound.{k}"], leaf.error)
                assert found[k].dtype == found[f"bound.{k}"].dtype == np.float64
        for key, value in case.options.items():
            if tree.is_leaf(value):
                np.testing.assert_array_equal(found[f"option.{key}"], value)
                assert entry["options"][key] == {"array": f"option.{key}"}
            else:
                assert entry["options"][key] == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize("name", OPERATORS)
def test_both_formats_hold_the_same(made, name):
    safetensors = pytest.importorskip("safetensors.numpy")
    for path in made[name].glob("*.npz"):
        one, two = dict(np.load(path)), safetensors.load_file(path.with_suffix(".safetensors"))
        assert set(one) == set(two)
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])
            assert one[key].dtype == two[key].dtype


def test_made_twice_they_are_the_same_bytes(made, tmp_path):
    again = vectors.write("attention", tmp_path / "again", ("float32", "bfloat16"), only=["plain_0"])
    assert contents(again) == contents(made["attention"])


def test_an_archive_says_nothing_of_when_it_was_made(folder):
    for path in folder.glob("*.npz"):
        assert {entry.date_time for entry in zipfile.ZipFile(path).infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_index_says_what_each_case_catches_and_how_to_judge(folder):
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert index["schema"] == 1
    assert index["operator"] == "softmax"
    assert "|got - y| <= bound.y" in index["rule"]
    assert [c["name"] for c in index["cases"]] == ["plain_0", "bare"]
    for case in index["cases"]:
        assert case["catches"]
        assert case["elements"] > case["unbounded"] == 0
        for name, said in case["files"].items():
            content = (folder / name).read_bytes()
            assert said == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_the_reference_in_float32_keeps_the_rule(folder):
    for path in folder.glob("*.npz"):
        found = dict(np.load(path))
        entry = next(c for c in vectors.check(folder)["cases"] if path.name in c["files"])
        options = {k: found[f"option.{k}"] if isinstance(v, dict) else v for k, v in entry["options"].items()}
        y, cache = ops.softmax.forward(found["arg.x"], **options)
        dx, = ops.softmax.backward(found["dy"], cache)
        assert (np.abs(y - found["y"]) <= found["bound.y"]).all()
        assert (np.abs(dx - found["grad.x"]) <= found["bound.grad.x"]).all()
        assert not (np.abs(2 * y - found["y"]) <= found["bound.y"]).all()


def test_every_file_has_its_checksum(folder):
    for row in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = row.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert len(list(folder.iterdir())) == 1 + len((folder / "SHA256SUMS").read_text().splitlines())


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("damage", "said"), [
    (lambda f: flip(f / "float32-bare.npz"), r"float32-bare\.npz is not what was written"),
    (lambda f: flip(f / "index.json"), r"index\.json is not what was written"),
    (lambda f: (f / "float32-bare.npz").unlink(), r"float32-bare\.npz is missing"),
    (lambda f: (f / "more.npz").write_bytes(b""), r"more\.npz is not one of these vectors"),
    (lambda f: (f / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
    (lambda f: (f / "SHA256SUMS").write_text("../x\n"), "SHA256SUMS is damaged"),
    (lambda f: (f / "SHA256SUMS").write_text("0" * 64 + "  ../x\n"), "SHA256SUMS is damaged"),
    (lambda f: (f / "index.json").unlink(), "holds no golden vectors"),
])
def test_damage_is_seen_and_named(folder, damage, said):
    vectors.check(folder)
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        vectors.check(folder)


def test_a_later_schema_is_refused(folder):
    index = json.loads((folder / "index.json").read_text(encoding="utf-8")) | {"schema": 2}
    (folder / "index.json").write_text(json.dumps(index))
    digest = hashlib.sha256((folder / "index.json").read_bytes()).hexdigest()
    rows = [r for r in (folder / "SHA256SUMS").read_text().splitlines() if not r.endswith("index.json")]
    (folder / "SHA256SUMS").write_text("\n".join([*rows, f"{digest}  index.json", ""]))
    with pytest.raises(ValueError, match="has schema 2"):
        vectors.check(folder)


def test_vectors_replace_vectors_and_nothing_else(folder, tmp_path):
    vectors.write("softmax", folder, ["float32"], ["npz"], only=["plain_1"])
    assert {p.name for p in folder.iterdir()} == {"float32-plain_1.npz", "index.json", "SHA256SUMS"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="something else"):
        vectors.write("softmax", tmp_path / "mine")
    assert {p.name for p in tmp_path.iterdir()} == {"mine", "softmax"}


def test_they_are_written_whole_or_not_at_all(folder, monkeypatch):
    before = contents(folder)
    written = []

    def full(path, content, *, real=vectors.Path.write_bytes):
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device", str(path))
        return real(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(vectors.Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            vectors.write("softmax", folder, ["float32"], ["npz"], only=["plain_1", "plain_2"])
    assert contents(folder) == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_what_was_there_stays_if_the_new_cannot_take_its_place(folder, monkeypatch):
    before = contents(folder)

    def blocked(path, target, *, real=vectors.Path.rename):
        if path.name == "new":
            raise PermissionError(13, "in use", str(path))
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(vectors.Path, "rename", blocked)
        with pytest.raises(PermissionError, match="in use"):
            vectors.write("softmax", folder, ["float32"], ["npz"], only=["plain_1"])
    assert contents(folder) == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(("how", "error", "said"), [
    ({"op": "atention"}, LookupError, "did you mean attention"),
    ({"precisions": ["float8"]}, ValueError, "precision must be one of"),
    ({"precisions": []}, ValueError, "at least one precision"),
    ({"formats": ["csv"]}, ValueError, "format must be one of npz, safetensors; got 'csv'"),
    ({"only": ["nosuch"]}, LookupError, "has no case 'nosuch'"),
])
def test_what_cannot_be_asked_for_is_said_before_anything_is_written(tmp_path, how, error, said):
    with pytest.raises(error, match=said):
        vectors.write(**{"op": "softmax", "folder": tmp_path / "v"} | how)
    assert not (tmp_path / "v").exists()
