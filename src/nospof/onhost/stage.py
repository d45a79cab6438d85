"""Getting ready: everything that can fail without harm fails here, before anything is replaced.

Packages, users and content that nobody uses yet are put in place; then the daemons' own checkers look at the new
configuration in a mount namespace of their own, where /etc is a copy with the new files in it.
"""

from __future__ import annotations

import compileall
import ctypes
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from nospof.onhost import files, units
from nospof.onhost.compare import CHECK_LIMIT_S, missing_packages
from nospof.onhost.manifest import File, Manifest, Tree

CLONE_NEWNS = 0x00020000
NOT_AGAIN = "/usr/sbin/policy-rc.d"


class NotReady(Exception):
    """This host cannot take the manifest; `problems` says why, one text per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def stage(manifest: Manifest, blobs: Mapping[str, bytes]) -> None:
    """Make this host ready for `manifest`; raises NotReady, with nothing replaced, when it cannot be.

    `blobs`: content by sha256 for the trees that are not unpacked here yet.
    """
    install_packages(manifest.packages)
    for user in sorted({user for instance in manifest.instances for user in instance.users}):
        make_user(user)
    for instance in manifest.instances:
        for tree in instance.trees:
            unpack(tree, blobs)
    problems = check([file for instance in manifest.instances for file in instance.files])
    if problems:
        raise NotReady(problems)


def install_packages(packages: tuple[str, ...]) -> None:
    """Install what is missing. No package starts its daemon, now or at the next boot: what runs is said by the manifest."""
    missing = missing_packages(packages)
    if not missing:
        return
    enabled = units.enabled()
    had_policy = os.path.lexists(NOT_AGAIN)
    if not had_policy:
        files.write_atomically(NOT_AGAIN, b"#!/bin/sh\nexit 101\n", 0o755)
    try:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        argv = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing]
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=900, check=False)
    except FileNotFoundError:
        raise NotReady([f"packages are missing and there is no apt-get: {' '.join(missing)}"]) from None
    finally:
        if not had_policy:
            files.remove(NOT_AGAIN)
    units.disable_at_boot(units.enabled() - enabled)
    if missing_packages(packages):
        raise NotReady([f"packages cannot be installed: {' '.join(missing)}\n{_tail(done.stdout + done.stderr)}"])


def make_user(user: str) -> None:
    """A system user without home, shell or password."""
    if files.uid_of(user) >= 0:
        return
    argv = ["useradd", "--system", "--user-group", "--no-create-home", "--shell=/usr/sbin/nologin", user]
    done = units.run(argv, timeout_s=30)
    if files.uid_of(user) < 0:
        raise NotReady([f"user {user} cannot be made: {done.stderr.strip()}"])


def unpack(tree: Tree, blobs: Mapping[str, bytes]) -> None:
    """Unpack beside, then rename: the folder is there whole or not at all."""
    if os.path.isdir(tree.path):
        return
    if tree.blob not in blobs:
        raise NotReady([f"the content of {tree.path} was not sent"])
    parent = os.path.dirname(tree.path)
    os.makedirs(parent, mode=0o755, exist_ok=True)
    _sweep(parent)
    beside = tempfile.mkdtemp(dir=parent, prefix=files.BESIDE)
    try:
        with tarfile.open(fileobj=io.BytesIO(blobs[tree.blob])) as archive:
            _extract(archive, beside)
        # Now, and not by whoever imports it first: a failover has no time to, and an application may not write here.
        compileall.compile_dir(beside, quiet=2, stripdir=beside, prependdir=tree.path)
        os.chmod(beside, 0o755)
        # This file system only: in a lab the kernel's own sync would wait for every other host's disk too.
        subprocess.run(["sync", "--file-system", beside], check=False)
        os.rename(beside, tree.path)
    except (OSError, tarfile.TarError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise NotReady([f"{tree.path} cannot be unpacked: {error}"]) from error


def _extract(archive: tarfile.TarFile, folder: str) -> None:
    """Extract files, folders and links that stay inside `folder`; the owner is root, nobody else may write.

    Debian 12's Python 3.11.2 has no extraction filter, so that what it would refuse is refused here; later ones have both.
    Raises tarfile.TarError for anything else, before anything is extracted.
    """
    members, links = archive.getmembers(), set[str]()
    for member in members:
        path = os.path.normpath(member.name)
        target = os.path.join(os.path.dirname(path), member.linkname) if member.issym() else path
        is_inside = not any(_leads_out(one) for one in (member.name, path, target))
        through_link = any(path.startswith(link + "/") for link in links)
        if not (member.isreg() or member.isdir() or member.issym()) or not is_inside or through_link:
            raise tarfile.TarError(f"{member.name} is not a file, folder or link inside of it")
        if member.issym():
            links.add(path)
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    # The way Python's documentation gives for versions with and without filters.
    archive.extraction_filter = getattr(tarfile, "data_filter", None)
    archive.extractall(folder, members)  # noqa: S202 - they were looked at


def _leads_out(path: str) -> bool:
    return os.path.isabs(path) or os.path.normpath(path).split("/")[0] == ".."


def _sweep(parent: str) -> None:
    """Remove what a run that died left half unpacked, or half removed."""
    for entry in os.scandir(parent):
        if entry.name.startswith(files.BESIDE) and entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)


def check(staged: list[File]) -> list[str]:
    """Run every file's checker against the staged files; return what each said that did not like them."""
    asked = {file.check: file for file in staged if file.check}
    if not asked:
        return []
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # the mounts below end with this process
        code = 1
        try:
            os.close(reading)
            _stage_etc(staged)
            answer = json.dumps([text for argv in asked if (text := _complaint(asked[argv], argv))])
            os.write(writing, answer.encode())
            code = 0
        except BaseException as error:
            os.write(writing, json.dumps([f"the staged files could not be checked: {error}"]).encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return [str(text) for text in json.loads(said)]


def _complaint(file: File, argv: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=CHECK_LIMIT_S, check=False)
    except FileNotFoundError:
        return f"{file.path} cannot be checked: there is no {argv[0]}"
    except subprocess.TimeoutExpired:
        return f"{file.path} could not be checked within {CHECK_LIMIT_S:.0f} s: {' '.join(argv)}"
    if done.returncode == 0:
        return ""
    return f"{file.path} is refused by {os.path.basename(argv[0])}:\n{_tail(done.stdout + done.stderr)}"


def _stage_etc(staged: list[File]) -> None:
    """In this process's own mount namespace, put a copy of /etc with the staged files over /etc."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "no mount namespace of its own")
    etc = Path("/run/nospof-etc")
    _mount("--make-rprivate", "/")
    etc.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(etc))
    subprocess.run(["cp", "-a", "/etc/.", str(etc)], check=True, capture_output=True)
    _mount("--bind", str(etc), "/etc")
    for file in staged:
        if file.path.startswith("/etc/") and file.ownership != "seed":
            files.write(file)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
