"""A wheel has the lessons' text beside the assignments, whose introductions are taken from it."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Lessons(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":                           # not for an editable install
            build_data["force_include"] |= {str(file): f"visattn/assignment/lessons/{file.name}"
                                            for file in Path(self.root, "lessons").glob("[0-9][0-9]-*.md")}
