"""What needs root, and what to type then."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from nospof.errors import WrongInput


def require_root() -> None:
    """Raise WrongInput unless this is root, whom the lab needs: before anything is begun that could not be finished."""
    if os.geteuid() != 0:
        raise WrongInput("the hosts of this stack are virtual ones in this machine, which only root can reach", fix=as_root())


def as_root() -> str:
    """What to type to run this very command as root, whose PATH may not have it."""
    return shlex.join(["sudo", str(Path(sys.argv[0]).absolute()), *sys.argv[1:]])
