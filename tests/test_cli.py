"""The command: what it says, where it says it, and its exit status."""

import json
import os
import sys
from types import SimpleNamespace

import pytest

import visattn
from visattn import cli, ops
from visattn.ops import sigmoid


@pytest.fixture
def run(capsys):
    """(exit status, stdout, stderr) of a command."""

    def run(*arguments):
        status = cli.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def wrong_sigmoid(monkeypatch):
    """The library with a sigmoid whose gradient is twice the right one."""
    wrong = SimpleNamespace(__name__=sigmoid.__name__, forward=sigmoid.forward, example=sigmoid.example,
                            backward=lambda dy, cache: tuple(2 * g for g in sigmoid.backward(dy, cache)))
    monkeypatch.setattr(ops, "sigmoid", wrong)


def one_line(text):
    return text.count("\n") == 1 and text.startswith("visattn: ") and "Traceback" not in text


COMMANDS = [["verify"], ["ops"], ["doctor"], ["show"], ["demo"], ["train", "classify"], ["check"], ["vectors"],
            ["mutate"]]


def test_every_command_is_listed_and_has_an_example(run):
    status, out, _ = run("--help")
    assert status == 0
    for command in COMMANDS:
        assert command[0] in out
        status, help_text, _ = run(*command, "--help")
        assert status == 0
        assert "Example" in help_text, command


def test_the_version_is_the_package_s(run):
    assert run("--version") == (0, f"visattn {visattn.__version__}\n", "")


def test_nothing_to_do_is_answered_with_help(run):
    status, out, _ = run()
    assert status in (0, 2)
    assert "Usage" in out


@pytest.mark.parametrize(("arguments", "said"), [
    (["verify", "atention"], "no operator or model 'atention'; did you mean attention?"),
    (["verify", "qqqq"], "`visattn ops` lists them"),
    (["ops", "atention"], "did you mean attention"),
    (["verify", "--quux"], "--quux (see: visattn verify --help)"),
    (["--quux"], "--quux"),
    (["nosuchcommand"], "nosuchcommand"),
    (["show"], "IMAGE"),
    (["show", "nosuchfile.png"], "nosuchfile.png"),
    (["demo", "--quick", "extra"], "extra"),
])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_mistake_is_one_line_on_stderr_and_status_2(run, arguments, said, as_json):
    if as_json and arguments[0] in ("verify", "ops"):
        arguments = [*arguments, "--json"]
    status, out, err = run(*arguments)
    assert status == 2
    assert out == ""
    assert one_line(err), err
    assert said in err


def test_verify_in_words(run):
    status, out, _ = run("verify", "sigmoid", "squeeze_excite")
    assert status == 0
    assert "2 operators hold. Each operator equals its definition" in " ".join(out.split())
    assert "attention" not in out


def test_verify_as_json(run):
    status, out, err = run("verify", "sigmoid", "--json")
    assert status == 0
    assert err == ""
    found = json.loads(out)
    assert found["passed"] is True
    assert found["models"] == []
    one, = found["operators"]
    assert one["name"] == "sigmoid"
    assert one["passed"] is True
    assert {"family", "forward_error", "gradient_error", "float32_error", "forward_us", "backward_us"} <= one.keys()


@pytest.mark.usefixtures("wrong_sigmoid")
def test_what_does_not_hold_is_status_1(run):
    status, out, _ = run("verify", "sigmoid", "squeeze_excite")
    assert status == 1
    assert "the gradient of x is not the derivative" in " ".join(out.split())
    assert "1 of 2 does not hold: sigmoid." in out


@pytest.mark.usefixtures("wrong_sigmoid")
def test_what_does_not_hold_is_status_1_and_json(run):
    status, out, _ = run("verify", "sigmoid", "squeeze_excite", "--json")
    assert status == 1
    found = json.loads(out)
    assert found["passed"] is False
    assert [r["passed"] for r in found["operators"]] == [False, True]


def test_json_has_no_infinity():
    assert cli.plain({"a": float("inf"), "b": (float("nan"), 1.5)}) == {"a": None, "b": [None, 1.5]}


def test_ops_tells_claim_paper_signature_and_weights(run):
    status, out, _ = run("ops", "--json")
    assert status == 0
    found = {o["name"]: o for o in json.loads(out)["operators"]}
    assert set(found) == set(dir(ops))
    assert found["attention"] == {
        "name": "attention", "family": "pairs", "has_weights": False,
        "claim": "Scaled dot-product attention: every query gathers the values of the keys that resemble it.",
        "paper": 'Vaswani et al., "Attention Is All You Need", NIPS 2017, eq. (1).',
        "signature": "forward(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None)"}
    assert found["squeeze_excite"]["has_weights"]
    assert found["softmax"]["paper"] == ""                      # its second paragraph is a formula
    status, out, _ = run("ops")
    assert status == 0
    assert all(name in out for name in dir(ops))


def test_doctor_tells_what_is_missing_and_how_to_get_it(run, monkeypatch):
    from visattn import doctor

    monkeypatch.setattr(doctor, "EXTRAS", [doctor.Extra("numpy", "numpy", "arrays"),
                                           doctor.Extra("nosuchmodule", "nosuchpackage", "nothing")])
    status, out, _ = run("doctor", "--json")
    assert status == 0
    found = json.loads(out)
    there, not_there = found["packages"]
    assert there["version"] == found["numpy"]
    assert there["install"] is None
    assert not_there["version"] is None
    assert not_there["install"] == "pip install nosuchpackage"
    assert found["threads"]["cores"] >= 1
    assert "seen" in found["gpu"]
    status, out, _ = run("doctor")
    assert status == 0
    assert "pip install nosuchpackage" in out


@pytest.mark.skipif(sys.platform == "win32", reason="the double is a shell script")
def test_doctor_asks_the_driver_where_there_is_no_cupy(monkeypatch, tmp_path):
    from visattn import doctor

    double = tmp_path / "nvidia-smi"
    double.write_text("#!/bin/sh\necho 'NVIDIA H200'\necho 'NVIDIA T4'\n")
    double.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert doctor.gpu() == {"seen": ["NVIDIA H200", "NVIDIA T4"], "by": "nvidia-smi"}
    double.write_text("#!/bin/sh\nexit 9\n")
    assert doctor.gpu()["seen"] == []


@pytest.mark.parametrize(("error", "said"), [
    (ModuleNotFoundError("No module named 'jinja2'", name="jinja2"), "pip install jinja2"),
    (ImportError('sklearn is not installed: pip install "visattn[demo]"'), 'pip install "visattn[demo]"'),
    (FileNotFoundError(2, "No such file or directory", "cat.png"), "no such file or directory: cat.png"),
    (ValueError("cat.png: cannot be read\nas an image"), "cat.png: cannot be read as an image"),
    (KeyError("no such weights"), "visattn: no such weights"),
])
def test_what_a_command_raises_becomes_one_line(run, monkeypatch, error, said):
    def fail():
        raise error

    monkeypatch.setattr("visattn.doctor.report", fail)
    status, out, err = run("doctor")
    assert status == 2
    assert out == ""
    assert one_line(err), err
    assert said in err


def test_a_defect_of_ours_is_not_called_the_user_s(run, monkeypatch):
    def fail():
        raise AssertionError("this cannot be")

    monkeypatch.setattr("visattn.doctor.report", fail)
    with pytest.raises(AssertionError, match="this cannot be"):
        run("doctor")


def test_an_interrupt_is_one_line(run, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr("visattn.doctor.report", stop)
    status, _, err = run("doctor")
    assert status == 130
    assert one_line(err)
