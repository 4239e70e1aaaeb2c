"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path


def write(path: str | os.PathLike[str], content: bytes) -> Path:
    """Replace the file at once: whoever reads it, or stops the machine, finds the old one or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return path
