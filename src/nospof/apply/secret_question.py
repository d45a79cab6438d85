"""Asking for a password or passphrase: from a program where one is named, else from whoever sits at the terminal."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys


def is_asked_of_a_program() -> bool:
    """Whether NOSPOF_ASKPASS names one, as SSH_ASKPASS does for ssh."""
    return "NOSPOF_ASKPASS" in os.environ


def ask_secret(prompt: str) -> str:
    """The answer; "" where there is neither a program nor a terminal."""
    if is_asked_of_a_program():
        argv = [os.environ["NOSPOF_ASKPASS"], prompt]
        return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False).stdout.rstrip("\n")
    return getpass.getpass(prompt) if sys.stdin.isatty() else ""
