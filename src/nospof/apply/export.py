"""The folder .nospof/ as one encrypted file, for a colleague or a safe: AES-256-GCM, the key from a passphrase by scrypt.

File: `nospof state 1` and a line feed, 16 bytes of salt, 12 of nonce, then the encrypted tar.
Sources: RFC 7914 (scrypt), RFC 5116 (AEAD_AES_256_GCM).
"""

from __future__ import annotations

import io
import os
import secrets
import tarfile
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from nospof.apply.state import State
from nospof.errors import Failed, WrongInput

MAGIC = b"nospof state 1\n"
SALT, NONCE = 16, 12
# 128 MiB and half a second per guess.
COST, BLOCK, PARALLEL = 1 << 17, 8, 1
# What belongs to this machine, or can be made again: locks, the lab, downloads, what drills found.
OF_HERE = frozenset({"lock", "lab", "cache", "drills", "measured.json"})


def export_state(state: State, passphrase: str) -> bytes:
    """All that another machine needs to work on the stack. Raises Failed before the first `up`."""
    if not state.exists:
        raise Failed("there is nothing to export: this stack was never brought up", fix="nospof up")
    head = MAGIC + secrets.token_bytes(SALT) + secrets.token_bytes(NONCE)
    return head + _cipher(head, passphrase).encrypt(head[-NONCE:], _packed(state.folder), head)


def import_state(state: State, content: bytes, passphrase: str) -> tuple[str, ...]:
    """Unpack an exported state where there is none yet; returns the names of what came. Nothing is overwritten.

    Raises WrongInput where the file is none or the passphrase is wrong, Failed where there is a state already.
    """
    if state.exists:
        why = f"the stack beside it has the id {state.stack_id}, and importing would replace its secrets"
        raise Failed(f"{state.folder} is there already", why=why, fix="move it away first, if it is not wanted")
    size = len(MAGIC) + SALT + NONCE
    if not content.startswith(MAGIC) or len(content) <= size:
        raise WrongInput("this is no exported state", fix="nospof state export writes one")
    head = content[:size]
    try:
        packed = _cipher(head, passphrase).decrypt(head[-NONCE:], content[size:], head)
    except InvalidTag:
        raise WrongInput("the passphrase is wrong, or the file was changed", fix="there is no other way in") from None
    return _unpacked(packed, state.folder)


def _cipher(head: bytes, passphrase: str) -> AESGCM:
    salt = head[len(MAGIC) : len(MAGIC) + SALT]
    return AESGCM(Scrypt(salt=salt, length=32, n=COST, r=BLOCK, p=PARALLEL).derive(passphrase.encode()))


def _packed(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and inside.parts[0] not in OF_HERE and not path.name.startswith(".new-"):
                archive.add(path, str(inside))
    return stream.getvalue()


def _unpacked(packed: bytes, folder: Path) -> tuple[str, ...]:
    """Beside first, then in one step: half a state would be another stack."""
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".nospof-import-"))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = archive.getmembers()
        for member in members:
            source = archive.extractfile(member)
            if source is None:
                raise WrongInput(f"{member.name} is no file, and an exported state has nothing else")
            path = beside / member.name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as stream:
                stream.write(source.read())
    if folder.exists():  # with nothing but a lock in it
        for path in folder.iterdir():
            path.replace(beside / path.name)
        folder.rmdir()
    beside.rename(folder)
    return tuple(member.name for member in members)
