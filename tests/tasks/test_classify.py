"""Short runs on a few digits: what is tested is the run, not how well it learns."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from visattn import tree
from visattn.cli import main
from visattn.data._data import Split
from visattn.tasks import _files, classify
from visattn.tasks._augment import Moves, move
from visattn.tasks._files import BadFile

EPOCHS, STEPS = 2, 3


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """150 digits instead of 1,442: three steps an epoch."""
    load = classify.load_data

    def load_few(name):
        d = load(name)
        return d._replace(train=Split(*(a[:150] for a in d.train)), test=Split(*(a[:50] for a in d.test)))

    monkeypatch.setattr(classify, "load_data", load_few)


def stop_at(*steps):
    """A progress callback that interrupts the run after these steps, counted from its beginning."""

    def progress(state, per_epoch):
        assert per_epoch == STEPS
        if state.step and state.epoch * STEPS + state.step in steps:
            raise KeyboardInterrupt

    return progress


def same(a, b):
    return all(x.tobytes() == y.tobytes() and x.dtype == y.dtype
               for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True))


@pytest.fixture(scope="module")
def whole():
    """{model: the result of a run that nothing interrupted}, made when it is asked for."""
    made = {}

    def of(model):
        if model not in made:
            made[model] = classify.train(model, epochs=EPOCHS, seed=3, gate=gate_of(model))
        return made[model]

    return of


def gate_of(model):
    return "squeeze_excite" if model == "cnn" else "none"


@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_an_interrupted_run_goes_on_to_the_same_weights_bit_for_bit(model, whole, tmp_path):
    """Interrupted in the middle of the first epoch, then at the end of it, then in the second."""
    for done in (1, 3, 5):
        with pytest.raises(classify.Interrupted) as stop:
            classify.train(model, epochs=EPOCHS, seed=3, gate=gate_of(model), out=tmp_path, progress=stop_at(done))
        assert stop.value.status == 130
        assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    result = classify.train(model, epochs=EPOCHS, seed=3, gate=gate_of(model), out=tmp_path)
    assert result.resumed
    assert same(result.trained.p, whole(model).trained.p)
    assert result.curve == whole(model).curve
    if model == "cnn":
        assert same(result.trained.running, whole(model).trained.running)
    assert not (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_step_and_loses_nothing(number, status, whole, tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def progress(state, steps):
        if state.step == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(classify.Interrupted, match="epoch 1 of 2, after step 2") as stop:
        classify.train("vit", epochs=EPOCHS, seed=3, out=tmp_path, progress=progress)
    assert stop.value.status == status
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert same(classify.train("vit", epochs=EPOCHS, seed=3, out=tmp_path).trained.p, whole("vit").trained.p)


def test_the_same_config_gives_the_same_run_and_another_seed_another(whole):
    again = classify.train("vit", epochs=EPOCHS, seed=3)
    other = classify.train("vit", epochs=EPOCHS, seed=4)
    assert same(again.trained.p, whole("vit").trained.p)
    assert again.curve == whole("vit").curve
    assert not same(other.trained.p, again.trained.p)


def test_equal_runs_leave_equal_files(tmp_path):
    for folder in ("a", "b"):
        classify.train("vit", epochs=1, out=tmp_path / folder)
    a, b = ((tmp_path / folder / "weights.safetensors").read_bytes() for folder in ("a", "b"))
    assert a == b


def test_matrix_products_run_in_one_thread():
    """A run must not depend on how many cores there are, nor wait for busy ones."""
    from threadpoolctl import threadpool_info

    seen = set()
    classify.train("vit", epochs=1, progress=lambda *_: seen.update(
        pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"))
    assert seen <= {1}


def test_without_a_folder_an_interrupt_is_an_interrupt():
    with pytest.raises(KeyboardInterrupt) as stop:
        classify.train("vit", epochs=EPOCHS, progress=stop_at(1))
    assert not isinstance(stop.value, classify.Interrupted)


@pytest.fixture
def stopped(tmp_path):
    with pytest.raises(classify.Interrupted):
        classify.train("vit", epochs=EPOCHS, out=tmp_path, progress=stop_at(2))
    return tmp_path / "checkpoint.safetensors"


SPOIL = {
    "empty": lambda b: b"",
    "truncated": lambda b: b[: len(b) // 2],
    "a byte less": lambda b: b[:-1],
    "one bit": lambda b: b[:-100] + bytes([b[-100] ^ 1]) + b[-99:],
    "text": lambda b: b"no weights here",
    "a huge header": lambda b: b"\xff" * 8 + b[8:],
}


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "weights.safetensors"])
def test_a_damaged_file_is_one_line_and_stays_as_it_is(name, stopped):
    whole = stopped.read_bytes()
    path = stopped.with_name(name)
    for how, spoil in SPOIL.items():
        path.write_bytes(spoil(whole))
        with pytest.raises(BadFile, match=name) as error:
            classify.train("vit", epochs=EPOCHS, out=path.parent)
        assert "\n" not in str(error.value), how
        assert path.read_bytes() == spoil(whole), how


@pytest.mark.parametrize(("other", "said"), [
    ({"model": "cnn"}, "model: 'vit' there, 'cnn' here"),
    ({"seed": 1}, "seed: 0 there, 1 here"),
    ({"epochs": 5}, "epochs: 2 there, 5 here"),
    ({"data": "scattered"}, "data: 'digits' there, 'scattered' here"),
])
def test_a_checkpoint_of_another_run_is_refused_and_stays(other, said, stopped):
    before = stopped.read_bytes()
    with pytest.raises(BadFile, match="of another run") as error:
        classify.train(**{"model": "vit", "epochs": EPOCHS, **other}, out=stopped.parent)
    assert said in str(error.value)
    assert stopped.read_bytes() == before


def test_weights_of_another_gate_are_not_overwritten(tmp_path):
    classify.train("cnn", epochs=1, out=tmp_path)
    before = (tmp_path / "weights.safetensors").read_bytes()
    with pytest.raises(BadFile, match="gate: 'none' there, 'squeeze_excite' here"):
        classify.train("cnn", epochs=1, gate="squeeze_excite", out=tmp_path)
    assert (tmp_path / "weights.safetensors").read_bytes() == before


def test_a_safetensors_file_of_somebody_else_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(3)}, tmp_path / "checkpoint.safetensors")
    with pytest.raises(BadFile, match="was not written by visattn"):
        classify.train("vit", epochs=EPOCHS, out=tmp_path)
    with pytest.raises(BadFile, match="was not written by visattn"):
        classify.load(tmp_path / "checkpoint.safetensors")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    _files.write(path, {"a": np.ones(3)}, {"n": 1})
    before = path.read_bytes()

    def fails(*_):
        raise OSError("no space left")

    for function in ("replace", "fsync"):
        monkeypatch.setattr(os, function, fails)
        with pytest.raises(OSError, match="no space"):
            _files.write(path, {"a": np.zeros(3)}, {"n": 2})
        monkeypatch.undo()
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("model", classify.MODELS)
def test_weights_on_disk_answer_as_the_trained_ones(model, tmp_path):
    result = classify.train(model, epochs=1, out=tmp_path)
    x = classify.load_data("digits").test.x[:7]
    p = classify.predict(result.trained, x)
    assert p.shape == (7, 10)
    assert p.sum(1) == pytest.approx(1)
    assert np.array_equal(classify.predict(tmp_path / "weights.safetensors", x), p)
    loaded = classify.load(tmp_path / "weights.safetensors")
    assert loaded.config == result.config
    assert same(loaded.p, result.trained.p)
    np.testing.assert_allclose(classify.predict(loaded, x, batch=3), p, rtol=1e-4)
    assert len(classify.predict(loaded, x[:0])) == 0


def test_accuracy_is_that_of_the_held_out_images(whole):
    result, test = whole("vit"), classify.load_data("digits").test
    right = classify.predict(result.trained, test.x).argmax(1) == test.labels
    assert result.accuracy == result.curve[-1]["accuracy"] == right.mean()


def test_the_spatial_transformer_reads_scattered_digits_through_its_view(tmp_path):
    result = classify.train("stn", "scattered", epochs=1)
    x = classify.load_data("scattered").test.x[:5]
    assert x.shape[2:] == (classify.CANVAS, classify.CANVAS)
    _, cache = classify.forward(result.trained, x)
    assert cache.grid.shape == (5, classify.VIEW, classify.VIEW, 2)
    assert cache.view.shape == (5, 1, classify.VIEW, classify.VIEW)


def test_the_curve_is_a_figure_with_labelled_axes(whole):
    fig = classify.figure(whole("vit"))
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in fig.axes]
    assert labels == [("epoch", "cross-entropy"), ("epoch", "accuracy in %")]


@pytest.mark.parametrize(("choice", "said"), [
    ({"model": "mlp"}, "model must be one of cnn, vit, stn; got 'mlp'"),
    ({"data": "cifar"}, "data must be one of"),
    ({"gate": "se"}, "gate must be one of"),
    ({"model": "vit", "gate": "cbam"}, "vit has none"),
    ({"seed": -1}, "seed must be at least 0; got -1"),
    ({"epochs": 0}, "epochs must be at least 1; got 0"),
])
def test_a_choice_that_does_not_exist_is_refused(choice, said):
    with pytest.raises(ValueError, match=said):
        classify.train(**choice)


# Moving images


def test_not_moved_is_the_image(rng):
    x = rng.random((3, 1, 8, 8)).astype("f4")
    np.testing.assert_allclose(move(x, Moves(), rng), x, atol=1e-6)


def test_a_larger_canvas_has_the_image_in_its_middle(rng):
    x = rng.random((2, 1, 8, 8)).astype("f4")
    y = move(x, Moves(canvas=12), rng)
    np.testing.assert_allclose(y[:, :, 2:-2, 2:-2], x, atol=1e-6)
    assert y.sum() == pytest.approx(x.sum(), rel=1e-5)


def test_a_shift_moves_the_centre_of_mass_by_as_many_pixels(rng):
    x = np.zeros((500, 1, 9, 9), "f4")
    x[:, :, 4, 4] = 1
    y = move(x, Moves(shift=2), rng)[:, 0]
    rows, columns = (np.einsum("nhw,hw->n", y, axis) for axis in np.mgrid[-4:5, -4:5])
    assert y.sum((1, 2)) == pytest.approx(1, rel=1e-4)
    for where in (rows, columns):
        assert -2 <= where.min() < -1.9
        assert 1.9 < where.max() <= 2


def test_a_zoom_of_two_has_four_times_the_area(rng):
    x = np.zeros((1, 1, 8, 8), "f4")
    x[:, :, 2:6, 2:6] = 1
    assert move(x, Moves(smallest=2, largest=2, canvas=24), rng).sum() == pytest.approx(4 * 16, rel=0.05)


def test_a_turn_keeps_sizes_and_the_distance_from_the_middle(rng):
    rows, columns = np.mgrid[-10:11, -10:11]
    blob = np.exp(-(rows**2 + (columns - 5) ** 2) / 4).astype("f4")
    y = move(np.stack([blob[None]] * 50), Moves(turn=1.0), rng)[:, 0]
    mass = y.sum((1, 2))
    u, v = ((y * axis).sum((1, 2)) / mass for axis in (columns, rows))
    np.testing.assert_allclose(mass, blob.sum(), rtol=0.01)
    np.testing.assert_allclose(np.hypot(u, v), 5, atol=0.05)
    assert np.ptp(np.arctan2(v, u)) > 1.5


# The command


def run(capsys, *arguments):
    status = main(["train", "classify", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_json_is_all_there_is_on_stdout(capsys, tmp_path):
    status, out, _ = run(capsys, "--model", "vit", "--epochs", 2, "--seed", 5, "--out", tmp_path, "--json")
    said = json.loads(out)
    assert status == 0
    assert 0 <= said["accuracy"] <= 1
    assert {name: said[name] for name in ("task", "model", "data", "gate", "seed", "epochs", "resumed")} == {
        "task": "classify", "model": "vit", "data": "digits", "gate": "none", "seed": 5, "epochs": 2, "resumed": False}
    assert [point["epoch"] for point in said["curve"]] == [1, 2]
    for point in said["curve"]:
        assert set(point) == {"epoch", "loss", "train_accuracy", "accuracy"}
    assert said["parameters"] > 1000
    assert said["seconds"] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curve.png", "result.json", "weights.safetensors"]
    assert json.loads((tmp_path / "result.json").read_text()) == said


def test_the_plain_answer_names_the_files(capsys, tmp_path):
    status, out, _ = run(capsys, "--model", "vit", "--epochs", 1, "--out", tmp_path)
    assert status == 0
    assert "of the held-out digits are right" in out
    assert str(tmp_path / "weights.safetensors") in out


@pytest.mark.parametrize("wrong", [["--model", "mlp"], ["--gate", "se"], ["--data", "cifar"], ["--epochs", "0"],
                                   ["--seed", "x"], ["--seed", "-1"], ["--model", "vit", "--gate", "cbam"]])
def test_a_mistake_is_one_line_and_exit_status_2(capsys, tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *wrong)
    assert status == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_one_line_before_any_work(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    status, out, err = run(capsys, "--out", tmp_path / "file" / "runs")
    assert (status, out) == (2, "")
    assert len(err.strip().splitlines()) == 1


def test_an_interrupted_command_says_how_to_go_on(capsys, tmp_path, monkeypatch):
    train = classify.train
    monkeypatch.setattr(classify, "train", lambda *a, **k: train(*a, **{**k, "progress": stop_at(2)}))
    status, out, err = run(capsys, "--model", "vit", "--epochs", 2, "--out", tmp_path, "--json")
    assert (status, out) == (130, "")
    assert len(err.strip().splitlines()) == 1
    assert "the same command goes on" in err
    monkeypatch.undo()
    assert (tmp_path / "checkpoint.safetensors").exists()


def test_a_process_that_is_told_to_end_keeps_its_state(tmp_path):
    command = [sys.executable, "-m", "visattn.cli", "train", "classify", "--model", "vit", "--epochs", "300",
               "--out", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "checkpoint.safetensors"
    for _ in range(600):
        if checkpoint.exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert out == ""
    assert "interrupted in epoch" in err
    assert classify.load(checkpoint).config.model == "vit"
