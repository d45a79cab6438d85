"""`nospof state export`, `nospof state import`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from nospof.apply.export import export_state, import_state
from nospof.apply.secret_question import ask_secret, is_asked_of_a_program
from nospof.apply.state import State
from nospof.cli.screen import console
from nospof.cli.stack_argument import stack_file
from nospof.errors import WrongInput

SHORTEST = 12


def export(stack: Path, file: Path) -> int:
    state = State(stack_file(stack))
    if file.exists():
        raise WrongInput(f"{file} is there already", fix="name another file, or remove it first")
    passphrase = _passphrase("passphrase for the file: ")
    if len(passphrase) < SHORTEST:
        what = f"the passphrase has {len(passphrase)} characters, and it is all that protects the file"
        raise WrongInput(what, fix=f"take {SHORTEST} or more")
    if not is_asked_of_a_program() and passphrase != _passphrase("once more: "):
        raise WrongInput("the two are not the same", fix="try again")
    content = export_state(state, passphrase)
    with tempfile.NamedTemporaryFile(dir=file.absolute().parent, delete=False) as stream:
        stream.write(content)
    Path(stream.name).rename(file)
    console.print(f"{file}: the secrets, the CA and the id of the stack, encrypted; on the other machine: nospof state import")
    return 0


def restore(stack: Path, file: Path) -> int:
    state = State(stack_file(stack))
    try:
        content = file.read_bytes()
    except OSError as error:
        raise WrongInput(f"{file} cannot be read: {error.strerror}") from None
    names = import_state(state, content, _passphrase("passphrase of the file: "))
    console.print(f"{len(names)} files are in {state.folder}; nospof status shows whether the hosts know it")
    return 0


def _passphrase(prompt: str) -> str:
    if not is_asked_of_a_program() and not sys.stdin.isatty():
        raise WrongInput("there is no terminal to ask for the passphrase", fix="NOSPOF_ASKPASS names a program that prints it")
    return ask_secret(prompt)
