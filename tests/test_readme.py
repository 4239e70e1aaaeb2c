"""What the README shows runs, and its list of operators is the list of operators."""

import re
from pathlib import Path

from visattn import ops
from visattn._namespace import find

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_its_examples_run(capsys):
    scope = {}
    for code in re.findall(r"^```python\n(.*?)^```", README, re.M | re.S):
        exec(compile(code, "README.md", "exec"), scope)
    assert "gradient of w" in capsys.readouterr().out


def test_it_lists_every_operator_in_its_family():
    listed = README.split("<!-- operators -->")[1].split("<!-- /operators -->")[0]
    rows = dict(re.findall(r"^\| \*\*(\w+)\*\*[^|]*\| (.*?) \|$", listed, re.M))
    for name, dotted in find("visattn.ops", ops.__path__).items():
        family = dotted.split(".")[2]
        assert f"`{name}`" in rows.get(family, ""), f"README does not list {name} under {family}"


def test_its_files_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
