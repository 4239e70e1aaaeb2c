"""`visattn check` and `visattn vectors` from a terminal: what they say, where, and the exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from visattn import cli
from visattn.check import command, judge
from visattn.check.child.limits import Limits
from visattn.check.verdicts import Part, Report


@pytest.fixture(autouse=True)
def commands(monkeypatch):
    monkeypatch.setitem(cli.LATER, "check", "visattn.check.command:check")
    monkeypatch.setitem(cli.LATER, "vectors", "visattn.check.command:vectors")


@pytest.fixture
def run(capsys):
    """(exit status, stdout, stderr) of a command."""

    def run(*arguments):
        status = cli.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def finding(verdict):
    return Report("softmax", "mine.py", "numpy", verdict, f"{verdict}: x", ("float64",),
                  (Part("y", verdict, "", 0.5, "float64", "plain_0"),), (), (), (), (), 0.1)


@pytest.fixture
def judged(monkeypatch):
    """What judge.run was asked; it answers with `judged.verdict`, or raises `judged.error`."""

    class Judged:
        verdict, error = "pass", None

        def run(self, op, **how):
            self.op, self.how = op, how
            how["progress"]("a case")
            print("what a trusted function prints")
            if self.error:
                raise self.error
            return finding(self.verdict)

    judged = Judged()
    monkeypatch.setattr(judge, "run", judged.run)
    return judged


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text("def softmax(x): ...\n")
    return path.name


def one_line(text):
    return text.count("\n") == 1 and text.startswith("visattn: ") and "Traceback" not in text


# --- exit status

@pytest.mark.parametrize(("verdict", "status"), [
    ("pass", 0), ("imprecise", 0), ("failed", 1), ("contract", 1), ("range", 1), ("wrong", 1), ("precision", 1),
    ("unsupported", 1)])
@pytest.mark.parametrize("form", [[], ["--json"], ["--verbose"]])
def test_the_status_is_0_only_if_it_is_right(run, file, judged, verdict, status, form):
    judged.verdict = verdict
    assert run("check", f"{file}:softmax", *form)[0] == status


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "say what to check"),
    (["nosuch.py:f", "--op", "softmax"], "no such file: nosuch.py"),
    (["mine.py"], "say which operator it is meant to be with --op"),
    (["mine.py:my_softmax"], "with --op: softmax?"),
    (["mine.py:sofmax"], "with --op: softmax"),
    (["mine.py:f", "--op", "sofmax"], "did you mean softmax"),
    (["mine.py:a b", "--op", "softmax"], "not a name of Python"),
    (["mine.txt", "--op", "softmax"], "a target is file.py:function"),
    (["a b:c", "--op", "softmax"], "a target is file.py:function"),
    (["mine.py:softmax", "--precision", "float8"], "precision must be one of float64"),
    (["mine.py:softmax", "--framework", "caffe"], "caffe"),
    (["mine.py:softmax", "--option", "axes=1"], "did you mean axis?"),
    (["mine.py:softmax", "--option", "axis"], "--option is NAME=VALUE"),
    (["mine.py:softmax", "--option", "axis=7"], "axis"),
    (["mine.py:softmax", "--weights", "w=fc.weight"], "no 'w' for --weights; it has x"),
    (["mine.py:softmax", "--only", "plain"], "has no case 'plain'"),
    (["mine.py:softmax", "--time-limit", "0"], "--time-limit"),
    (["mine.py:softmax", "--html", "page.pdf"], "a page is written as .html"),
    (["mine.py:softmax", "--bogus"], "--bogus"),
])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_mistake_in_the_command_is_one_line_and_status_2(run, file, judged, arguments, said, form):
    status, out, err = run("check", *arguments, *form)
    assert status == 2
    assert out == ""
    assert one_line(err), err
    assert said in err
    assert not hasattr(judged, "op")


@pytest.mark.parametrize("error", [
    ValueError("this\ncannot be"), AssertionError("this cannot be"), KeyError("this cannot be"),
    OSError(12, "this cannot be"), RecursionError("this cannot be")])
def test_a_defect_of_ours_is_status_3_in_one_line(run, file, judged, monkeypatch, error):
    judged.error = error
    status, out, err = run("check", f"{file}:softmax", "--json")
    assert status == 3
    assert out == ""
    assert "a defect of visattn, not of your function" in err
    assert "this cannot be" in err
    assert one_line(err.replace("what a trusted function prints\n", ""))
    monkeypatch.setenv("VISATTN_TRACEBACK", "1")
    with pytest.raises(type(error)):
        run("check", f"{file}:softmax")


def test_an_interrupt_is_one_line(run, file, judged):
    judged.error = KeyboardInterrupt()
    status, _, err = run("check", f"{file}:softmax")
    assert status == 130
    assert "visattn: stopped" in err


# --- what is asked

def test_every_option_reaches_the_judge(run, file, judged):
    run("check", f"{file}:my.softmax", "--op", "softmax", "--precision", "float16", "--framework", "torch",
        "--backward", "back", "--option", "axis=1", "--weights", "x=fc1.weight.T", "--strict", "--seed", "3",
        "--only", "plain_0", "--only", "tiny", "--trust", "--time-limit", "5", "--memory-limit", "2",
        "--size", "T=40", "--size", "S=50")
    assert judged.op == "softmax"
    limits = judged.how.pop("limits")
    assert callable(judged.how.pop("progress"))
    assert judged.how == {
        "file": "mine.py", "module": "", "name": "my.softmax", "backward_name": "back", "framework": "torch",
        "precision": "float16", "options": {"axis": 1}, "weights": {"x": "fc1.weight.T"}, "strict": True, "seed": 3,
        "trust": True, "only": ["plain_0", "tiny"], "sizes": {"T": 40, "S": 50}}
    assert limits == Limits()._replace(start=5, first=5, call=5, total=5, memory=2 * 2**30)


def test_weights_come_one_by_one_or_with_commas_between(run, file, judged):
    said = ["--weights", "w1=qkv.weight[0/3],w2=qkv.weight.T[2:4]", "--weights", "x=a.b"]
    run("check", "mine.py:softmax", "--op", "squeeze_excite", *said)
    assert judged.how["weights"] == {"w1": "qkv.weight[0/3]", "w2": "qkv.weight.T[2:4]", "x": "a.b"}


def test_by_default_nothing_is_restricted(run, file, judged):
    run("check", f"{file}:softmax")
    asked = {key: judged.how[key] for key in ("precision", "options", "weights", "limits", "only", "strict", "trust")}
    assert not any(asked.values())


def test_judge_takes_what_it_is_given():
    import inspect

    known = set(inspect.signature(judge.run).parameters)
    assert {"file", "module", "name", "backward_name", "framework", "precision", "options", "weights", "strict", "seed",
            "trust", "limits", "only", "progress"} <= known


@pytest.mark.parametrize(("target", "wanted"), [
    ("mine.py:f", ("mine.py", "", "f")), ("mine.py", ("mine.py", "", "")), ("./mine.py:Net.forward",
                                                                          ("./mine.py", "", "Net.forward")),
    ("package.module:name", ("", "package.module", "name"))])
@pytest.mark.usefixtures("file")
def test_targets(target, wanted):
    assert command.parse_target(target) == wanted


@pytest.mark.parametrize(("target", "called"), [
    ("mine.py:softmax", "softmax"), ("attention.py", "attention"), ("attention.py:forward", "attention"),
    ("attention.py:softmax", "softmax"), ("kernels.layernorm:forward", "layernorm"), ("mine.py:vit", "vit")])
def test_the_operator_is_the_one_that_the_target_is_called_after(run, file, judged, target, called):
    path = Path(target.partition(":")[0])
    if path.suffix == ".py":
        path.touch()
    run("check", target)
    assert judged.op == called


@pytest.mark.parametrize(("text", "value"), [
    ("true", True), ("False", False), ("none", None), ("null", None), ("3", 3), ("0.5", 0.5), ("-1", -1),
    ("(1, 2)", (1, 2)),
    ("top_left", "top_left"), ("'a b'", "a b"), ("1e-5", 1e-5)])
def test_values_of_options(text, value):
    found = command.value_of(text)
    assert found == value
    assert type(found) is type(value)


# --- what is shown

def test_the_report_is_on_stdout_and_the_rest_is_not(run, file, judged):
    _, out, err = run("check", f"{file}:softmax")
    assert out.splitlines()[0] == "✓ right: x"
    assert "what a trusted function prints" in err
    assert "what a trusted function prints" not in out


def test_json_is_the_whole_of_stdout(run, file, judged):
    judged.verdict = "wrong"
    _, out, _ = run("check", f"{file}:softmax", "--json")
    found = json.loads(out)
    assert found["schema"] == 1
    assert found["passed"] is False


def test_a_page_is_written_beside_the_text(run, file, judged, tmp_path):
    status, out, err = run("check", f"{file}:softmax", "--html", "found/page.html")
    assert status == 0
    assert (tmp_path / "found/page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "the page is found" in err
    assert "right: x" in out


@pytest.mark.parametrize("target", [[], ["mine.py:softmax"]])
def test_cases_are_listed(run, file, judged, target):
    status, out, _ = run("check", *target, "--op", "softmax", "--list-cases")
    assert status == 0
    assert "a large common offset" in out
    status, out, _ = run("check", *target, "--op", "softmax", "--list-cases", "--json", "--only", "tiny")
    assert [case["name"] for case in json.loads(out)] == ["tiny"]
    assert not hasattr(judged, "op")


@pytest.mark.parametrize("name", ["check", "vectors"])
def test_help_has_an_example(run, name):
    status, out, _ = run(name, "--help")
    assert status == 0
    assert "Example" in out
    assert name in run("--help")[1]


def test_the_command_loads_no_framework():
    code = "import sys, visattn.check.command; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    late = {"torch", "jax", "numba", "cupy", "matplotlib", "jinja2", "visattn.check.judge"}
    assert not late & set(done.stdout.split())


# --- a function that runs

RIGHT = """
import numpy as np
def softmax(x, mask=None, axis=-1):
    print("hello")
    x = x if mask is None else np.where(mask, x, -np.inf)
    m = x.max(axis, keepdims=True)
    e = np.exp(x - np.where(np.isfinite(m), m, 0))
    s = e.sum(axis, keepdims=True)
    return e / np.where(s > 0, s, 1)
"""


@pytest.mark.parametrize(("source", "status", "said"), [
    (RIGHT, 0, "right"),
    (RIGHT.replace("e / ", "2 * e / "), 1, "wrong"),
    (RIGHT.replace("import numpy", "import nosuchpackage, numpy"), 1, "nosuchpackage"),
    (RIGHT.replace("def softmax", "def other"), 1, "softmax"),
    (RIGHT.replace("return", "return None #"), 1, ""),
    ("def softmax(x): raise RuntimeError('no idea')", 1, "no idea"),
    ("def softmax(", 1, "syntaxerror"),
    ("import os\nos._exit(0)", 1, ""),
])
def test_from_a_file_to_an_exit_status(run, tmp_path, source, status, said):
    path = tmp_path / "mine.py"
    path.write_text(source)
    got, out, err = run("check", f"{path}:softmax", "--only", "plain_0", "--precision", "float64", "--json")
    assert got == status, out + err
    found = json.loads(out)
    assert found["passed"] is (status == 0)
    assert said in out.lower()
    assert "hello" not in out


# --- vectors

def test_vectors_are_written_and_checked(run, tmp_path):
    folder = tmp_path / "v"
    status, out, err = run("vectors", "softmax", "--precision", "float16", "--precision", "float32", "--format", "npz",
                           "--only", "plain_0", "--out", folder)
    assert (status, out) == (0, f"{folder}\n")
    assert "2 cases of softmax in npz" in err
    assert sorted(p.name for p in folder.glob("*.npz")) == ["float16-plain_0.npz", "float32-plain_0.npz"]
    assert np.load(folder / "float16-plain_0.npz")["arg.x"].dtype == np.float16
    status, out, _ = run("vectors", "--check", folder)
    assert status == 0
    assert "2 cases of softmax, every byte as it was written" in out
    (folder / "float16-plain_0.npz").write_bytes(b"")
    status, out, err = run("vectors", "--check", folder)
    assert (status, out) == (1, "")
    assert one_line(err)
    assert "float16-plain_0.npz is not what was written" in err


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "say which operator"),
    (["sofmax"], "did you mean softmax"),
    (["softmax", "--format", "csv"], "format must be one of"),
    (["softmax", "--precision", "float8"], "precision must be one of"),
    (["softmax", "--only", "nosuch"], "has no case 'nosuch'"),
    (["softmax", "--out", "."], "something else"),
    (["--check", "nosuch"], "holds no golden vectors"),
])
@pytest.mark.usefixtures("file")
def test_a_mistake_about_vectors_is_one_line_and_status_2(run, arguments, said):
    status, out, err = run("vectors", *arguments)
    assert (status, out) == (2, "")
    assert one_line(err), err
    assert said in err
    assert os.listdir() == ["mine.py"]
