"""Lessons quote the source as it is, their examples run, their notebooks are current, their exercises are solvable."""

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from visattn import assignment, gpu, lessons, ops
from visattn.gpu._host import KernelFault

ROOT = Path(lessons.__file__).parents[1]


def load(path):
    """A module from a file that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load(ROOT / "lessons" / "build.py")
LESSONS = build.all_lessons()
lesson_by_name = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


def examples(text):
    return [code for where, code in build.blocks(text) if not where]


def solutions(lesson):
    return load(solutions_file(lesson))


def solutions_file(lesson):
    return ROOT / "tests" / "lessons" / f"solutions_{lesson.name[:2]}.py"


@lesson_by_name
def test_quotes_exactly(lesson):
    for where, code in build.blocks(lesson.read_text(encoding="utf-8")):
        if where:
            assert code == lessons.source(where), f"{where} has changed: python lessons/build.py --quotes"


@lesson_by_name
def test_examples_run_and_exercises_are_solvable(lesson, monkeypatch):
    """In one scope, asserts included; an exercise as it stands fails, its solution passes, its mistakes do not."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    text = lesson.read_text(encoding="utf-8")
    for place in ("simulator", "host") if "gpu.use(" in text else ():
        try:
            with gpu.use(place):
                pass
        except gpu.NoDevice as missing:
            pytest.skip(str(missing))
    judged = []
    monkeypatch.setattr(lessons, "judge", lambda *args, **options: judged.append((args, options)))
    scope = {}
    for i, code in enumerate(examples(text)):
        exec(compile(code, f"{lesson.name}, example {i}", "exec"), scope)

    solved, caught, mistakes = vars(solutions(lesson)), set(), set()
    for (forward, backward, *args), options in judged:
        names = [forward.__name__, *([backward.__name__] if backward else [])]
        assert lessons.verdict(forward, backward, *args, **options) == "nothing is written here yet", names
        right = [solved.get(names[0], forward), backward and solved[names[1]]]
        assert right != [forward, backward], names
        assert lessons.verdict(*right, *args, **options) is None, names
        wrong = [(k, name) for k in range(len(names)) for name in solved if name.startswith(f"{names[k]}_")]
        assert wrong, f"no mistake is known for {names[-1]}"
        for k, name in wrong:
            mistaken = [*right[:k], solved[name], *right[k + 1:]]
            mistakes.add(name)
            caught |= {name} if lessons.verdict(*mistaken, *args, **options) else set()
    assert len(judged) >= 5
    assert caught == mistakes


@lesson_by_name
def test_ends_in_operators_to_write(lesson, capsys):
    """Each lesson ends in stubs of operators; as they stand nothing is right, and the reference's own lines are."""
    from visattn.assignment import exercise, source

    found = [where.partition(":")[2] for where, _ in build.blocks(lesson.read_text(encoding="utf-8"))
             if where.startswith(build.EXERCISE)]
    assert found
    for op in found:
        text = source.of(getattr(ops, op))
        scope = {"np": np, "NamedTuple": NamedTuple, "attempt": assignment.attempt}
        exec(exercise.practice(op), scope)
        assert capsys.readouterr().out == "Not yet: nothing is written here yet\n"
        exec(source.given(source.parts(getattr(ops, op))), scope)
        for function in (text.forward, text.backward):
            exec(f"{function.head}\n{function.body}", scope)
        assignment.attempt(op, scope[text.forward.name], scope[text.backward.name])
        assert capsys.readouterr().out.startswith("Right: ")


@lesson_by_name
def test_gives_no_solution_away(lesson):
    """No statement of a solution stands in the exercises, but for the unpacking of a cache that stubs have."""
    given = set()
    for code in examples(lesson.read_text(encoding="utf-8").partition("\n## Exercises\n")[2]):
        given |= statements(code)
    assert given
    answers = statements(solutions_file(lesson).read_text(encoding="utf-8"))
    assert not {answer for answer in answers & given if not answer.endswith((" = cache", " import attention"))}


def statements(code):
    simple = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.stmt) and not hasattr(node, "body"))
    return {ast.unparse(node) for node in simple}


@lesson_by_name
def test_notebook_is_current(lesson):
    pytest.importorskip("jupytext")
    assert not build.stale(lesson)


@lesson_by_name
def test_notebook_is_the_same_on_every_machine(lesson):
    """Outputs carry no path, no address, no warning, no time, and little weight."""
    nbformat = pytest.importorskip("nbformat")
    path = build.NOTEBOOKS / f"{lesson.stem}.ipynb"
    assert path.stat().st_size < 1_000_000
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    assert set(book.metadata) == {"kernelspec", "language_info"}
    for cell in book.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert cell.execution_count
        for output in cell.get("outputs", ()):
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text
            shown = [output.get("text", "")] + [v for k, v in output.get("data", {}).items() if "image" not in k]
            for words in shown:
                assert not re.search(r"0x[0-9a-f]{6}|/(home|tmp|root|Users|work|usr)/|\d\d:\d\d:\d\d", words), words


@lesson_by_name
def test_every_picture_is_there_and_described(lesson):
    text = lesson.read_text(encoding="utf-8")
    shown = re.findall(r"!\[(.+?)\]\((.+?)\)", text)
    assert len(shown) >= 3
    for words, file in shown:
        assert len(words) > 20
        assert (lesson.parent / file).is_file()
    assert text.count("*What to see:*") == len(shown), "each figure says what to see"


@lesson_by_name
def test_leads_somewhere(lesson):
    """Links to files of the repository lead to files."""
    text = re.sub(r"^```.*?^```", "", lesson.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(((?!http)[^)#]+)", text):
        assert (lesson.parent / target).exists(), target


def test_no_figure_is_left_over():
    used = {file for lesson in LESSONS for file in build.figures(lesson.read_text(encoding="utf-8")).values()}
    assert {f"figures/{path.name}" for path in (ROOT / "lessons" / "figures").iterdir()} == used


def test_no_notebook_is_left_over():
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == {lesson.stem for lesson in LESSONS}


def test_readme_lists_every_lesson_with_its_title():
    readme = (ROOT / "lessons" / "README.md").read_text(encoding="utf-8")
    for lesson in LESSONS:
        number, title = re.match(r"# (\d+)\. (.+)\n", lesson.read_text(encoding="utf-8")).groups()
        assert f"| {number} | [{title}]({lesson.name}) " in readme
        assert f"(../notebooks/{lesson.stem}.ipynb)" in readme
    assert readme.count(".ipynb)") == len(LESSONS)


class TestBuilder:
    text = ("# 1. Title\n\n```python\nx = 1\nx\n```\n\n![A picture of it](figures/a.png)\n\nWords.\n\n"
            "```python visattn/ops/_broadcast.py:unbroadcast\nold\n```\n\n```text\nnot code\n```\n")

    def test_refreshes_quotations_and_nothing_else(self):
        fresh = build.with_quotations(self.text)
        assert fresh == self.text.replace("old\n", lessons.source("visattn/ops/_broadcast.py:unbroadcast"))
        assert build.with_quotations(fresh) == fresh

    def test_quotes_kernels_as_cpp_and_leaves_other_cpp_alone(self):
        text = "```cpp visattn/gpu/common.cuh:warp_max\n```\n\n```cpp\nint i;\n```\n"
        fresh = build.with_quotations(text)
        assert fresh == text.replace("warp_max\n", f"warp_max\n{lessons.source('visattn/gpu/common.cuh:warp_max')}")
        assert [where for where, _ in build.blocks(fresh)] == ["visattn/gpu/common.cuh:warp_max"]

    def test_makes_a_cell_of_each_block(self):
        pytest.importorskip("jupytext")
        cells = build.sources(build.notebook(self.text))
        assert [source for kind, source in cells if kind == "code"] == [
            "x = 1\nx", 'quote("visattn/ops/_broadcast.py:unbroadcast")']
        assert not any("figures/a.png" in source for _, source in cells)
        assert any("not code" in source for kind, source in cells if kind == "markdown")

    def test_builds_the_same_notebook_twice(self):
        nbformat = pytest.importorskip("nbformat")
        pytest.importorskip("jupytext")
        one, two = (nbformat.writes(build.notebook(self.text)) for _ in range(2))
        assert one == two

    def test_knows_which_cell_draws_a_picture(self):
        assert build.figures(self.text) == {0: "figures/a.png"}

    def test_compares_words_exactly_and_numbers_nearly(self):
        assert build.same_words("error 0.1234 in 3", "error 0.1235 in 3")
        assert build.same_words("60% of 0.98, 2.00e-05", "61% of 0.97, 1.99e-05")
        assert not build.same_words("60%", "63%")
        assert not build.same_words("0.98", "0.96")
        assert not build.same_words("axis 3", "axis 4")
        assert not build.same_words("error 0.1234", "error 0.2234")
        assert not build.same_words("error 0.1234", "mistake 0.1234")
        assert not build.same_words("1 2", "1")


def test_a_quotation_is_shown_as_it_is_installed():
    where = "visattn/ops/_broadcast.py:unbroadcast"
    shown = lessons.quote(where)
    assert repr(shown) == f"# {where}\n{lessons.source(where)}"
    html = shown._repr_html_()
    assert html.startswith("<div")
    assert re.sub("<[^>]+>", "", html).count("\n") >= repr(shown).count("\n")


class TestSource:
    def test_of_a_function_is_what_python_says(self):
        assert lessons.source("visattn/ops/pairs/attention.py:forward") == inspect.getsource(inspect.unwrap(
            ops.attention.forward))

    @pytest.mark.parametrize("file", sorted((ROOT / "visattn" / "gpu").rglob("*.cu")), ids=lambda file: file.stem)
    def test_of_a_kernel_is_its_comment_and_its_body(self, file):
        text = file.read_text(encoding="utf-8")
        for name in re.findall(r'extern "C" __global__ void (?:__launch_bounds__\(.+?\) )?(\w+)\(', text):
            found = lessons.source(f"{file.relative_to(ROOT)}:{name}")
            assert found in text
            assert found.startswith("//")
            assert found.endswith("\n}\n")
            assert found.count("__global__") == found.count("\n}\n") == 1
            assert name in found

    def test_of_a_function_on_one_line(self):
        assert lessons.source("visattn/gpu/flash.cuh:or_zero").count("\n") == 2        # the comment, too

    @pytest.mark.parametrize("where", ["visattn/gpu/common.cuh:warp_min", "visattn/tree.py:nothing"])
    def test_of_what_is_not_there_is_an_error(self, where):
        with pytest.raises(LookupError, match=f"has no {where.partition(':')[2]}"):
            lessons.source(where)


class TestJudge:
    x = (np.arange(6.0).reshape(2, 3),)

    @staticmethod
    def square(x):
        return x**2, x

    def test_says_right_of_what_is_right(self, capsys):
        lessons.judge(self.square, lambda dy, x: (2 * x * dy,), self.x, y=self.x[0] ** 2)
        assert capsys.readouterr().out == "Right: every law holds.\n"

    def test_shows_the_table_of_a_wrong_gradient(self, capsys):
        lessons.judge(self.square, lambda dy, x: (x * dy,), self.x)
        said = capsys.readouterr().out
        assert said.startswith("Not yet: ")
        assert "backward is 0.5 times the derivative" in said

    @pytest.mark.parametrize(("forward", "says"), [
        (lambda x: (x**3, x), "forward gives 125 at (1, 2), expected 25"),
        (lambda x: (x.sum(), x), "shape ()"),
        (lambda x: x**2, "two things"),
        (lambda x: (np.where(x == 4, np.nan, x**2), x), "forward gives nan at (1, 1), expected 16"),
    ])
    def test_judges_forward_where_that_is_asked(self, forward, says):
        assert says in lessons.verdict(forward, lambda dy, x: (2 * x * dy,), self.x, y=self.x[0] ** 2)

    @pytest.mark.parametrize(("forward", "says"), [
        (lambda x: x**2, None),
        (lambda x: x[:1] ** 2, "shape (1, 3), expected (2, 3)"),
        (lambda x: np.where(x == 1, 1 + 1e-7, x**2), "gives 1 at (0, 1), expected 1"),
    ])
    def test_judges_an_answer_alone_where_there_is_no_backward(self, forward, says):
        said = lessons.verdict(forward, None, self.x, y=self.x[0] ** 2)
        assert said is says is None or says in said
        narrow = self.x[0].astype(np.float32) ** 2                      # float32 has float32's roundings
        assert lessons.verdict(lambda: narrow + np.float32(1e-7), None, (), y=narrow) is None
        assert "gives 7, expected 8" in lessons.verdict(lambda: 7, None, (), y=8)

    def test_a_kernel_that_breaks_a_rule_is_not_right(self):
        def forward():
            raise KernelFault("race", "thread 0 and thread 1")

        assert lessons.verdict(forward, None, (), y=1) == "race: thread 0 and thread 1"

    def test_lets_a_plain_error_through(self):
        """A traceback points at the reader's own line; that is the best answer there is."""
        with pytest.raises(ZeroDivisionError):
            lessons.judge(self.square, lambda dy, x: 1 // 0, self.x)
