"""Files on this host: reading what is there, replacing it atomically, keeping what was there before."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import tempfile
from pathlib import Path

from nospof.onhost.manifest import File

# How what is not whole yet, or no more, is called beside its place.
BESIDE = ".nospof-"
BLOCK_BEGIN, BLOCK_END = "# >>> nospof >>>", "# <<< nospof <<<"


def current_text(path: str) -> str | None:
    """The file's text, None where there is none. What is not UTF-8 is never ours: it reads as a difference."""
    try:
        return Path(path).read_text(errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def wanted_text(file: File) -> str:
    """What the whole file must say: for a BLOCK, what is there with our block in it."""
    if file.ownership != "block":
        return file.text
    return with_block(current_text(file.path) or "", file.text)


def with_block(text: str, block: str) -> str:
    """`text` with our block replaced, or added at its end."""
    ours = f"{BLOCK_BEGIN}\n{block}{BLOCK_END}\n"
    begin, end = text.find(BLOCK_BEGIN), text.find(BLOCK_END)
    if begin >= 0 and end > begin:
        return text[:begin] + ours + text[end + len(BLOCK_END) :].lstrip("\n")
    return text + ("" if not text or text.endswith("\n") else "\n") + ours


def without_block(text: str) -> str:
    """`text` without our block."""
    begin, end = text.find(BLOCK_BEGIN), text.find(BLOCK_END)
    if begin < 0 or end < begin:
        return text
    return text[:begin] + text[end + len(BLOCK_END) :].lstrip("\n")


def difference(file: File) -> str | None:
    """How the file on disk differs from `file`: "create", "change", "mode", or None."""
    try:
        status = os.lstat(file.path)
    except (FileNotFoundError, NotADirectoryError):
        return "create"
    if file.ownership == "seed":
        return None
    if not os.path.isfile(file.path) or current_text(file.path) != wanted_text(file):
        return "change"
    if file.ownership == "block":
        return None
    is_same_mode = (status.st_mode & 0o7777, status.st_uid) == (file.mode, uid_of(file.user))
    return None if is_same_mode else "mode"


def write(file: File) -> None:
    """Put `file` in its place: complete and durable before it is visible under its name."""
    uid, gid = ids_of(file.user)
    write_atomically(file.path, wanted_text(file).encode(errors="surrogateescape"), file.mode, uid, gid)


def write_atomically(path: str, content: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
    """Write beside, sync, rename; a power cut leaves the old file or the new one."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=folder, prefix=BESIDE)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.rename(beside, path)
        sync_folder(folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def link(path: str, target: str) -> None:
    """Point the symbolic link `path` to `target`, atomically."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    beside = f"{path}.nospof-new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
    os.symlink(target, beside)
    os.rename(beside, path)
    sync_folder(folder)


def link_target(path: str) -> str | None:
    """Where the symbolic link `path` leads; None if it is none."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def keep(path: str, folder: Path) -> None:
    """Copy what is at `path` (or that nothing is) into `folder`, unless something is kept there already."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = kept_at(path, folder)
    absent = kept.with_suffix(".absent")
    if kept.is_symlink() or kept.exists() or absent.exists():
        return
    if not os.path.lexists(path):
        absent.touch()
    if os.path.islink(path) or os.path.exists(path):
        beside = kept.with_name(kept.name + ".new")
        shutil.copy2(path, beside, follow_symlinks=False)
        if not os.path.islink(path):
            status = os.stat(path)
            os.chown(beside, status.st_uid, status.st_gid)
        os.rename(beside, kept)


def restore(path: str, folder: Path) -> None:
    """Put back what `keep` found at `path`; where there was nothing, nothing is left."""
    kept = kept_at(path, folder)
    if kept.is_symlink():
        link(path, os.readlink(kept))
    elif kept.exists():
        status = kept.stat()
        write_atomically(path, kept.read_bytes(), status.st_mode & 0o7777, status.st_uid, status.st_gid)
    else:
        remove(path)


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_tree(path: str) -> None:
    """Remove a folder of ours; what a power cut leaves of it has a name that nobody takes for it, and that `stage` sweeps."""
    if not os.path.isdir(path):
        return
    with contextlib.suppress(OSError):
        beside = tempfile.mkdtemp(dir=os.path.dirname(path), prefix=BESIDE)
        os.rename(path, beside)
        shutil.rmtree(beside, ignore_errors=True)


def kept_at(path: str, folder: Path) -> Path:
    return folder / hashlib.sha256(path.encode()).hexdigest()[:32]


def uid_of(user: str) -> int:
    """-1 for a user that does not exist yet, which equals no file's owner."""
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return -1


def ids_of(user: str) -> tuple[int, int]:
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
