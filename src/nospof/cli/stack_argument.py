"""The stack argument that every command takes."""

from __future__ import annotations

from pathlib import Path

from nospof.deployment import Deployment


def deployment(path: Path) -> Deployment:
    """The deployment of the stack file at `path`, or of stack.yaml in the folder `path`."""
    return Deployment.load(path / "stack.yaml" if path.is_dir() else path)
