"""The checker's page: what it shows exists, and its description of the JSON is that of the schema."""

import re
from pathlib import Path

from visattn.check import schema, verdicts

PAGE = Path(verdicts.__file__).with_name("README.md")
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_description_of_the_json_is_the_schema_s():
    for row in re.findall(r"^\| `.*\|$", schema.__doc__, re.M):
        assert row in TEXT, row


def test_every_verdict_is_described():
    for verdict in verdicts.ORDER:
        assert f"| {verdict} |" in TEXT


def test_its_files_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT):
        assert (PAGE.parent / target).exists(), target
