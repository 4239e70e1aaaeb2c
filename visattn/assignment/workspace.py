"""A learner's workspace: the notebooks of the lessons, and of the assignments that are ready.

    made = workspace("workspace")           # the files that are new; what is there already is never touched
"""

import shutil
from pathlib import Path

from visattn.assignment import sheet, targets
from visattn.assignment.ready import READY

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"         # in a checkout; a wheel has none


def workspace(folder: str | Path) -> list[Path]:
    """Bring what is not there yet into a folder, and say which files these are."""
    folder, made = Path(folder), []
    folder.mkdir(parents=True, exist_ok=True)
    for notebook in sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb")):
        if not (folder / notebook.name).exists():
            made.append(Path(shutil.copyfile(notebook, folder / notebook.name)))
    for name, ready in READY.items():
        path = folder / f"{name}.ipynb"
        if not path.exists():
            asked = sheet.of_operators(name, ready.ops, parts=ready.parts, title=ready.title)
            text = targets.files(asked, "plain")[f"{targets.STUDENT}/{name}.ipynb"]
            path.write_text(text, encoding="utf-8")
            made.append(path)
    return made
