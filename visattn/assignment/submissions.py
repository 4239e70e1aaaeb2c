"""What a folder of submissions holds: one student after the other, and the files of each.

    for handed in collect("submissions", sheet):
        handed.student, [file.name for file in handed.files]
        contents(handed)                # their bytes, as far as they may be read

The folder, or the archive, may be what a learning system exports:

    ada.py  bob.ipynb  eve/hw1.ipynb  joe.zip                               a file, a folder, an archive for each
    submitted/ada/hw1/hw1.ipynb                                             nbgrader
    Ada Lovelace_12345_assignsubmission_file_/hw1.ipynb                     Moodle
    lovelaceada_LATE_12345_67890_hw1-2.ipynb                                Canvas
    hw1_ada_attempt_2026-11-29-10-00-00_hw1.ipynb                           Blackboard

Archives are read where they lie, also archives in archives; nothing is unpacked to disk.  Links are not followed.
"""

import io
import os
import re
import stat
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from visattn.assignment.records import Sheet
from visattn.check.child.limits import size as in_words

CODE = (".ipynb", ".py")
READ = (*CODE, ".md")                           # answers.md: the questions in words
BESIDE = (".csv", ".json", ".md", ".log", ".db", ".key")        # an instructor's own files, beside submissions
LARGEST = 32 << 20                              # bytes of a file that is read
ARCHIVE = 512 << 20                             # and of an archive inside of another
RATIO = 200                                     # to which an honest file can be packed
MEMBERS, DEPTH, FILES = 20_000, 3, 64           # of an archive; archives in archives; files of one student
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_[a-z]+_?(?P<rest>.*)")
CANVAS = re.compile(r"(?P<name>[^\W_]+)_(?:(?P<late>LATE)_)?(?P<number>\d+)_\d+_(?P<rest>.+)")
BLACKBOARD = re.compile(r".+_(?P<name>[^_]+)_attempt_[\d-]+(?:_(?P<rest>.+)|\.txt)")


class File(NamedTuple):
    """A file that was handed in, wherever it lies."""

    name: str                                   # below the student's folder or archive
    at: str                                     # the file on disk, or the archive on disk that holds it
    inside: tuple[str, ...] = ()                # from archive to archive, the members down to it
    size: int = 0
    when: float = 0.0                           # last changed: of several, the newest counts
    problem: str = ""                           # why it is not read


class Handed(NamedTuple):
    """What one student handed in."""

    student: str
    files: tuple[File, ...]
    notes: tuple[str, ...] = ()


class Content(NamedTuple):
    """One file, read."""

    name: str
    data: bytes
    when: float
    problem: str = ""


class _Entry(NamedTuple):
    parts: tuple[str, ...]                      # from the folder of submissions; an archive counts as a folder
    file: File | None                           # None of a folder


def collect(path: str | Path, sheet: Sheet) -> list[Handed]:
    """Everybody who handed in, by name.  Raises FileNotFoundError, and ValueError for a folder without submissions."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "there is no such folder of submissions", str(path))
    entries = list(_walk(path) if path.is_dir() else _file(path, ()))
    if path.is_file():
        if path.suffix.lower() != ".zip":
            raise ValueError(f"{path} is neither a folder of submissions nor an archive of them")
        entries = [e._replace(parts=e.parts[1:]) for e in entries if len(e.parts) > 1]
    found: dict[tuple[str, str], list[tuple[_Entry, str]]] = {}
    for entry in _unwrapped(entries, sheet.name):
        name, number, rest, late = _student(entry, sheet.name)
        kept = entry.file and entry.file._replace(name="/".join((rest, *entry.parts[1:])).strip("/"))
        found.setdefault((name, number), []).append((entry._replace(file=kept), late))
    if not found:
        raise ValueError(f"{path} holds no submissions")
    names = [name for name, _ in found]
    return [_handed(name if names.count(name) == 1 else f"{name} {number}", entries, sheet.name)
            for (name, number), entries in sorted(found.items())]


def contents(handed: Handed) -> list[Content]:
    """The files of a submission that may be code or words, read as far as they may be."""
    found = []
    for file in handed.files:
        data, problem = b"", file.problem
        if not problem and file.name.lower().endswith(READ):
            try:
                data = _bytes(file.at, file.inside)
            except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
                problem = f"it cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
        found.append(Content(file.name, data, file.when, problem))
    return found


# --- what is there

def _walk(folder: Path, parts: tuple[str, ...] = ()) -> Iterator[_Entry]:
    """Everything below a folder."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.is_symlink() or _hidden(entry.name):
            continue
        if entry.is_dir():
            yield _Entry((*parts, entry.name), None)
            if len(parts) < 16:
                yield from _walk(Path(entry.path), (*parts, entry.name))
        elif entry.is_file():
            yield from _file(Path(entry.path), parts)


def _file(path: Path, parts: tuple[str, ...]) -> Iterator[_Entry]:
    """A file, or an archive with what is in it."""
    at, told = (*parts, path.name), path.stat()
    if path.suffix.lower() == ".zip":
        yield from _archive(str(path), (), at, told.st_size, told.st_mtime)
    else:
        yield _Entry(at, _limited(File(path.name, str(path), (), told.st_size, told.st_mtime)))


def _archive(at: str, inside: tuple[str, ...], parts: tuple[str, ...], size: int, when: float) -> Iterator[_Entry]:
    """An archive as a folder; what is wrong with it is a file with a problem in its place."""
    here = File(parts[-1], at, inside, size, when)
    try:
        if len(inside) >= DEPTH:
            raise ValueError("archives in archives in archives")
        with _opened(at, inside) as archive:
            members = archive.infolist()
        if len(members) > MEMBERS:
            raise ValueError(f"it holds {len(members):,} files")
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        yield _Entry(parts, here._replace(problem=f"the archive is not read: {error}"))
        return
    yield _Entry(parts, None)
    for member in sorted(members, key=lambda m: m.filename):
        names = tuple(name for name in member.filename.replace("\\", "/").split("/") if name not in ("", "."))
        link = stat.S_ISLNK(member.external_attr >> 16)
        if not names or link or member.filename.startswith("/") or any(map(_hidden, names)):        # ".." too
            continue
        if member.is_dir():
            yield _Entry((*parts, *names), None)
            continue
        file = File(names[-1], at, (*inside, member.filename), member.file_size, _time(member))
        packed = member.file_size > 1 << 20 and member.file_size > RATIO * max(member.compress_size, 1)
        if packed:
            file = file._replace(problem=f"it unpacks to {in_words(member.file_size)}, {RATIO} times its size or more")
        if names[-1].lower().endswith(".zip") and not packed:
            yield from _archive(at, (*inside, member.filename), (*parts, *names), member.file_size, file.when)
        else:
            yield _Entry((*parts, *names), _limited(file))


def _opened(at: str, inside: Sequence[str]) -> zipfile.ZipFile:
    return zipfile.ZipFile(at if not inside else io.BytesIO(_bytes(at, inside, ARCHIVE)))


def _bytes(at: str, inside: Sequence[str], most: int = LARGEST) -> bytes:
    """The bytes of a file on disk, or of a member of an archive, which may lie about its size."""
    if not inside:
        with open(at, "rb") as file:
            data = file.read(most + 1)
    else:
        with _opened(at, inside[:-1]) as archive, archive.open(inside[-1]) as member:
            data = member.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {in_words(most)}")
    return data


def _limited(file: File) -> File:
    if file.size > LARGEST and not file.problem:
        return file._replace(problem=f"it has {in_words(file.size)}; at most {in_words(LARGEST)} are read")
    return file


def _hidden(name: str) -> bool:
    return name.startswith((".", "~$")) or name in ("__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini")


def _time(member: zipfile.ZipInfo) -> float:
    try:
        return time.mktime((*member.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0.0


# --- whose it is

def _unwrapped(entries: list[_Entry], sheet: str) -> list[_Entry]:
    """Entries whose first part is a student's: folders and archives around all of them are taken away."""
    while True:
        tops: dict[str, list[_Entry]] = {}
        for entry in entries:
            tops.setdefault(entry.parts[0], []).append(entry)
        if "submitted" in tops and any(len(e.parts) > 1 for e in tops["submitted"]):        # a course of nbgrader
            tops = {"submitted": tops["submitted"]}
        around = [top for top, inner in tops.items() if _is_class(top, inner, sheet, alone=len(tops) == 1)]
        entries = [e._replace(parts=e.parts[1:]) if top in around else e for top, inner in tops.items() for e in inner
                   if top not in around or len(e.parts) > 1]
        if not around:
            return [e for e in entries if not (len(e.parts) == 1 and e.file and _beside(e.parts[0], sheet))]


def _is_class(top: str, inner: list[_Entry], sheet: str, alone: bool) -> bool:
    """Is this folder or archive one around the submissions of several?"""
    below = {e.parts[1] for e in inner if len(e.parts) > 1}
    if not below or MOODLE.fullmatch(top):
        return False
    if top == "submitted" or any(pattern.fullmatch(name) for name in below for pattern in (MOODLE, CANVAS, BLACKBOARD)):
        return True
    own = {f"{sheet}{end}" for end in CODE}
    if below & {sheet, *own}:                                       # a student's own folder
        return False
    archives = sum(name.lower().endswith(".zip") for name in below)
    folders = {e.parts[1] for e in inner if len(e.parts) > 2 and e.parts[-1] in own}
    return archives > 1 or len(folders) > 1 or (alone and len(below) > 1)


def _beside(name: str, sheet: str) -> bool:
    return name.lower().endswith(BESIDE)


def _student(entry: _Entry, sheet: str) -> tuple[str, str, str, str]:
    """(name, number, the rest of the first part, "late")."""
    top = entry.parts[0]
    for pattern in (MOODLE, CANVAS, BLACKBOARD):
        if told := pattern.fullmatch(top):
            parts = told.groupdict()
            return parts["name"].strip(), parts.get("number") or "", parts["rest"] or "", parts.get("late") or ""
    leaf = entry.file is not None and len(entry.parts) == 1
    name = Path(top).stem if leaf or top.lower().endswith(".zip") else top
    short = re.sub(rf"^{re.escape(sheet)}[_\- ]+|[_\- ]+{re.escape(sheet)}$", "", name)
    return short.strip() or name, "", top if leaf else "", ""


def _handed(student: str, entries: list[tuple[_Entry, str]], sheet: str) -> Handed:
    """The files of one student; where there is a folder of this assignment, only those in it."""
    files = [e.file for e, _ in entries if e.file is not None]
    here = [file for file in files if file.name.startswith(f"{sheet}/")]
    files = here or files
    notes = ["handed in late"] if any(late for _, late in entries) else []
    if len(files) > FILES:
        notes.append(f"of {len(files):,} files, the first {FILES} were looked at")
        files = sorted(files, key=lambda f: (not f.name.lower().endswith(CODE), f.name.count("/"), f.name))[:FILES]
    return Handed(student, tuple(files), tuple(notes))
