"""Where a document goes: to the terminal, or into a file that is there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from nospof.errors import WrongInput


def deliver(text: str, output: Path | None) -> None:
    """Print `text`, or write it to the file `output`. Raises WrongInput where that cannot be written."""
    if output is None:
        print(text, end="" if text.endswith("\n") else "\n")
        return
    try:
        _replace(output, text)
    except OSError as error:
        raise WrongInput(f"{output} cannot be written: {error.strerror}", fix="name another file") from None


def _replace(path: Path, text: str) -> None:
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")  # a pipe, or /dev/stdout
        return
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(beside).chmod(0o644)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
