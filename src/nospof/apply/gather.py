"""Content for the hosts: the user's folders and the wheels they require, as tar files named after their content.

A release has `app/` (the folder) and `site-packages/` (the wheels, unpacked for the host's Python). The same input gives
the same bytes: sorted, owned by root, fixed modes, no clock. A file's time is made from its content, since nginx (ETag) and
Python (bytecode) tell versions of a file apart by time and size: with one fixed time both would go on using an old one.
Wheels are fetched once per requirements, Python and machine, and then kept: a later `up` needs no network. What is not pinned
is therefore fetched as of that day. Nothing is built from source: neither this machine nor the hosts need a compiler.
Source: https://pip.pypa.io/en/stable/cli/pip_install/ (--target, --platform), PEP 600 (manylinux), PEP 508 (markers).
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from nospof.component import Facts, Source
from nospof.errors import Failed, WrongInput
from nospof.resolve import component_of
from nospof.topology import Topology

# Raised whenever the same input gives other bytes than before.
FORMAT = "1"
# What never belongs to a release; .nospof holds the stack's secrets.
LEFT_OUT = {
    ".DS_Store", ".git", ".hg", ".idea", ".mypy_cache", ".nospof", ".pytest_cache", ".ruff_cache", ".svn", ".tox", ".venv",
    "__pycache__", "node_modules",
}  # fmt: skip
# Debian's C library by its major version; wheels built for an older one run on it.
GLIBC_MINOR = {"12": 36}
NEWEST_GLIBC_MINOR = 41
OLDEST_GLIBC_MINOR = {"x86_64": 5, "i686": 5}
FIRST_GLIBC_MINOR_ELSEWHERE = 17
OLD_PLATFORM_NAMES = {"x86_64": ("manylinux2014", "manylinux2010", "manylinux1"), "i686": ("manylinux2014", "manylinux2010")}
FETCH_LIMIT_S = 900
LOOK_UP_LIMIT_S = 60
LEFTOVER_AGE_S = 86400
DETAIL_LINES, DETAIL_WIDTH = 8, 200

Progress = Callable[[str], None]
"""Told in one line what takes long."""


@dataclass(frozen=True)
class SourceRequest:
    """Content that is wanted: `folder`, and what `requirements` (a file in it) names, for a host's Python and machine.

    `name` is what messages call it, e.g. "app/release". Without requirements the host does not matter and is "".
    """

    name: str
    folder: Path
    requirements: str | None = None
    python: str = ""
    machine: str = ""
    debian: str = ""


@dataclass(frozen=True)
class Gathering:
    """Gathers what the instances of a host need, from folders beside the stack file in `base`."""

    base: Path
    cache: Path
    progress: Progress

    def __call__(self, topology: Topology, host: str, facts: Facts) -> Mapping[str, tuple[str, Callable[[], bytes]]]:
        """Return {"app/release": (sha256, read)} for the instances of `host`; raises as `gather` does."""
        wanted = [
            request_for(f"{instance.id.tier}/{source.name}", source, self.base, facts)
            for instance in topology.on_host(host)
            for source in component_of(instance).sources
        ]
        found = gather(wanted, self.cache, self.progress)
        return {request.name: (found[request], blob_path(self.cache, found[request]).read_bytes) for request in wanted}


def request_for(name: str, source: Source, base: Path, facts: Facts) -> SourceRequest:
    """What `source` of a component asks for, on a host with these facts."""
    folder = base / source.folder
    if source.requirements is None:
        return SourceRequest(name, folder)
    return SourceRequest(name, folder, source.requirements, facts.python, facts.machine, facts.debian)


def gather(requests: Sequence[SourceRequest], cache: Path, progress: Progress) -> dict[SourceRequest, str]:
    """Make the content of every request, each at most once, and return its sha256; the bytes are at `blob_path`.

    Several may run at once on one cache; one that is interrupted leaves nothing half. Raises WrongInput for what the user's
    files say, Failed for what could not be fetched.
    """
    cache.mkdir(parents=True, exist_ok=True)
    _sweep(cache)
    return {request: _gather(request, cache, progress) for request in dict.fromkeys(requests)}


def blob_path(cache: Path, sha256: str) -> Path:
    """Where the content with this sha256 is kept."""
    return cache / "blobs" / f"{sha256}.tar"


def _gather(request: SourceRequest, cache: Path, progress: Progress) -> str:
    files = list(_files_in(request.folder, request.name, _is_users))
    wheels_key = _wheels_key(request) if request.requirements else ""
    known = cache / "releases" / _digest(FORMAT, wheels_key, *(part for file in files for part in file.identity))
    with suppress(FileNotFoundError):
        sha256 = known.read_text()
        if blob_path(cache, sha256).exists():
            return sha256
    content = [file.inside("app") for file in files]
    if wheels_key:
        packages = _wheels(request, cache / "wheels" / wheels_key, cache, progress)
        content += [file.inside("site-packages") for file in _files_in(packages, request.name)]
    sha256 = _store(content, cache)
    with _new_folder(cache) as folder:
        _rename(_written(folder / "sha256", sha256.encode()), known)
    return sha256


# --- the user's folder --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _File:
    """A file (`content`), a symbolic link (`target`) or a folder (neither), at `path` in the tar."""

    path: str
    content: bytes | None = None
    target: str = ""
    is_program: bool = False

    @property
    def identity(self) -> tuple[str, ...]:
        kind = "folder" if self.content is None and not self.target else "program" if self.is_program else "file"
        return (self.path, kind, self.target, hashlib.sha256(self.content or b"").hexdigest())

    def inside(self, folder: str) -> _File:
        return _File(f"{folder}/{self.path}" if self.path else folder, self.content, self.target, self.is_program)

    def entry(self) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(self.path)
        if self.target:
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, self.target, 0o777
        elif self.content is None:
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        else:
            entry.size, entry.mode = len(self.content), 0o755 if self.is_program else 0o644
            # At most 2004: never in the future, where servers would not believe it.
            entry.mtime = int.from_bytes(hashlib.sha256(self.content).digest()[:4]) >> 2
        return entry


def _files_in(folder: Path, name: str, belongs: Callable[[Path], bool] = lambda path: True) -> Iterator[_File]:
    """Everything in `folder` that `belongs` to a release, parents before children, sorted."""
    if not folder.is_dir():
        raise WrongInput(f"{name}: there is no folder {folder}", fix="correct `source:` in the stack file")
    root = folder.resolve()
    yield _File("")
    yield from _entries(root, root, name, belongs)


def _entries(folder: Path, root: Path, name: str, belongs: Callable[[Path], bool]) -> Iterator[_File]:
    try:
        for entry in sorted(filter(belongs, folder.iterdir())):
            path = _readable_path(entry.relative_to(root), name)
            if entry.is_symlink():
                yield _File(path, target=_safe_target(entry, root, path, name))
            elif entry.is_dir():
                yield _File(path)
                yield from _entries(entry, root, name, belongs)
            elif entry.is_file():
                yield _File(path, entry.read_bytes(), is_program=bool(entry.stat().st_mode & stat.S_IXUSR))
            else:
                raise WrongInput(
                    f"{name}: {path} is neither a file, a folder nor a symbolic link",
                    why="sockets, pipes and devices cannot be carried to a host",
                    fix="remove it, or move it out of the folder",
                )
    except OSError as error:
        raise WrongInput(f"{name}: {error.filename or folder} cannot be read: {error.strerror}") from error


def _is_users(path: Path) -> bool:
    """Whether it is the user's work, and not what tools left there."""
    return path.name not in LEFT_OUT and path.suffix != ".pyc" and not (path / "pyvenv.cfg").exists()


def _readable_path(path: Path, name: str) -> str:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise WrongInput(
            f"{name}: the file name {shown} is not UTF-8",
            why="programs on the hosts could not open it under any name that can be written down",
            fix="rename the file",
        ) from None
    return str(path)


def _safe_target(link: Path, root: Path, path: str, name: str) -> str:
    """Where `link` leads, as it says; refuses what would not lead there on a host."""
    target = link.readlink()
    try:
        is_inside = not target.is_absolute() and link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        is_inside = False
    if not is_inside:
        raise WrongInput(
            f"{name}: the symbolic link {path} leads out of the folder, to {target}",
            why="on the hosts there is nothing at that place, or something else",
            fix="put the file itself there, or a relative link to a file in the folder",
        )
    return str(target)


# --- wheels -------------------------------------------------------------------------------------------------------------
INCLUDES = re.compile(r"(?:-r|--requirement|-c|--constraint)[\s=]*([^\s#]+)")
NEEDS_BUILDING = re.compile(r"(?:-e\b|--editable\b|\.{1,2}(?:/|$)|/|file:|(?:[\w.\[\],-]+\s*@\s*)?(?:git|hg|svn|bzr)\+)")


def _wheels_key(request: SourceRequest) -> str:
    """Changes with everything that decides which wheels are right."""
    texts = _requirement_files(request)
    platform = (request.python, request.machine, str(_glibc_minor(request.debian)))
    return _digest(FORMAT, *platform, *(part for path, text in texts for part in (path, text)))


def _requirement_files(request: SourceRequest) -> list[tuple[str, str]]:
    """The requirements file and those it includes, as (path in the folder, text)."""
    root = request.folder.resolve()
    found: dict[Path, str] = {}
    waiting = [root / (request.requirements or "")]
    while waiting:
        path = waiting.pop(0).resolve()
        if path in found:
            continue
        found[path] = _requirement_text(path, root, request)
        for line in found[path].splitlines():
            if included := INCLUDES.match(line.strip()):
                waiting.append(path.parent / included[1])
            if NEEDS_BUILDING.match(line.strip()):
                raise _needs_building(request, line.strip())
    return [(str(path.relative_to(root)), text) for path, text in found.items()]


def _requirement_text(path: Path, root: Path, request: SourceRequest) -> str:
    if not path.is_relative_to(root):
        shown = os.path.relpath(path, root)
        raise WrongInput(
            f"{request.name}: requirements must be files inside {request.folder}, and {shown} is not",
            why="a change of it would not be noticed",
            fix="move it into the folder, or copy its lines",
        )
    try:
        return path.read_text()
    except FileNotFoundError:
        raise WrongInput(
            f"{request.name}: there is no {path.relative_to(root)} in {request.folder}",
            why="it says which Python packages the application needs on the hosts",
            fix='write it (an empty file is fine), or name another file: `requirements: FILE`, or none: `requirements: ""`',
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongInput(f"{request.name}: {path.relative_to(root)} cannot be read: {error}") from error


def _wheels(request: SourceRequest, final: Path, cache: Path, progress: Progress) -> Path:
    """The folder with the unpacked wheels: fetched unless `final` is there already."""
    if not final.is_dir():
        progress(f"{request.name}: fetching packages for Python {request.python} on {request.machine}")
        with _new_folder(cache) as folder:
            _fetch(request, folder)
            _tidy(folder / "site-packages")
            _rename(folder / "site-packages", final)
    return final


def _fetch(request: SourceRequest, folder: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise Failed(
            "pip is missing, which fetches the Python packages of applications",
            why=f"{request.name} has {request.requirements}, and the Python that runs nospof has no pip",
            fix=f"{sys.executable} -m ensurepip   (in an environment made by uv: uv pip install pip)",
        )
    requirements = request.folder.resolve() / (request.requirements or "")
    (folder / "site-packages").mkdir()
    (folder / "tmp").mkdir()
    argv = ["install", "--target", str(folder / "site-packages"), "--only-binary=:all:", "--no-compile", "--requirement"]
    finished = _pip([*argv, str(requirements), *_platform_options(request)], request, folder, FETCH_LIMIT_S)
    if finished.returncode != 0:
        raise _explain(request, finished.stdout, folder)


def _platform_options(request: SourceRequest) -> list[str]:
    abi = f"cp{request.python.replace('.', '')}"
    options = ["--python-version", request.python, "--implementation", "cp", "--abi", abi, "--abi", "abi3", "--abi", "none"]
    oldest = OLDEST_GLIBC_MINOR.get(request.machine, FIRST_GLIBC_MINOR_ELSEWHERE)
    names = [f"manylinux_2_{minor}" for minor in range(_glibc_minor(request.debian), oldest - 1, -1)]
    for name in (*names, *OLD_PLATFORM_NAMES.get(request.machine, ("manylinux2014",)), "linux"):
        options += ["--platform", f"{name}_{request.machine}"]
    return options


def _glibc_minor(debian: str) -> int:
    return GLIBC_MINOR.get(debian.split(".")[0], NEWEST_GLIBC_MINOR)


def _pip(arguments: list[str], request: SourceRequest, folder: Path, limit_s: float) -> subprocess.CompletedProcess[str]:
    """Run our own Python's pip as if on the host; what it prints may hold addresses and passwords of its configuration."""
    argv = [sys.executable, "-P", "-c", AS_ON_HOST, request.python, request.machine, *arguments]
    settings = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    settings |= {"PIP_RETRIES": "1", "PIP_TIMEOUT": "15", "PIP_PROGRESS_BAR": "off", "PIP_NO_COLOR": "1"}
    environment = {**os.environ, **settings, "TMPDIR": str(folder / "tmp"), "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(
            argv, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=limit_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed(
            f"{request.name}: the packages were not fetched within {limit_s:.0f} s",
            fix="look at the network, then try again: what was fetched is kept",
        ) from None


def _tidy(packages: Path) -> None:
    """Remove what names this machine: programs that start its Python, and the addresses wheels came from."""
    for path in sorted((packages / "bin").glob("*")):
        path.unlink()
    with suppress(FileNotFoundError):
        (packages / "bin").rmdir()
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        (record.parent / "direct_url.json").unlink(missing_ok=True)
        lines = record.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(("bin/", "../../bin/")) and "/direct_url.json," not in line]
        record.write_text("".join(sorted(kept)))


# --- when pip fails -----------------------------------------------------------------------------------------------------
# pip has one exit code for every failure, so its words must do; a word not known ends in the last case, which is true as well.
NOT_FOUND = re.compile(r"No matching distribution found for ([^\n(]+)")
VERSIONS = re.compile(r"\(from versions: ([^)]*)\)")
NO_NETWORK = re.compile(
    r"connection broken by|NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|Network is unreachable"
)
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
HOST = re.compile(r"://(?:[^/\s@]*@)?([^/\s:@'\"]+)|host='([^']+)'|resolve '([^']+)'|located at (\S+)")


def _explain(request: SourceRequest, said: str, folder: Path) -> WrongInput | Failed:
    detail, where = _without_addresses(said), f"{request.requirements} of {request.name}"
    if not_found := NOT_FOUND.search(said):
        if NO_NETWORK.search(said):
            return Failed(
                f"the packages in {where} cannot be fetched: the package index does not answer",
                why="they are fetched once, on this machine; later runs need no network unless the requirements change",
                fix="look at the network (and proxy settings) of this machine, then try again",
                detail=detail,
            )
        return _explain_missing(request, not_found[1].strip(), VERSIONS.search(said), folder, detail)
    if "ResolutionImpossible" in said or "conflicting dependencies" in said:
        return WrongInput(f"the packages in {where} contradict each other", fix="loosen one of the versions", detail=detail)
    if "Invalid requirement" in said or "no such option" in said:
        return WrongInput(f"{where} has a line that is not a requirement", fix="one package a line: Flask~=3.1", detail=detail)
    if NO_NETWORK.search(said):
        return Failed(f"the packages in {where} cannot be fetched", fix="look at the network, then try again", detail=detail)
    return Failed(f"the packages in {where} cannot be fetched", fix="see what pip says below", detail=detail)


def _explain_missing(
    request: SourceRequest, wanted: str, versions: re.Match[str] | None, folder: Path, detail: str
) -> WrongInput:
    host = f"Python {request.python} on {request.machine}"
    having = [] if versions is None or versions[1] == "none" else versions[1].split(", ")
    name = re.split(r"[^A-Za-z0-9._-]", wanted, maxsplit=1)[0]
    if having:
        return WrongInput(
            f"{wanted} has no ready-made wheel for {host}, or there is no such version",
            why=f"{request.name} needs it, and nospof builds nothing from source",
            fix=f"take a version that has one: {', '.join(having[-8:])}",
            detail=detail,
        )
    if _pip(["index", "versions", name], request, folder, LOOK_UP_LIMIT_S).returncode == 0:
        return WrongInput(
            f"{wanted} has no ready-made wheel for {host}",
            why=f"{request.name} needs it, and nospof builds nothing from source: the hosts have no compiler",
            fix=f"use a package that has wheels (often {name}-binary), or build one and put it where pip looks (--find-links)",
            detail=detail,
        )
    return WrongInput(
        f"there is no package {wanted}",
        why=f"{request.requirements} of {request.name} asks for it, and the package index does not have it",
        fix="correct the name",
        detail=detail,
    )


def _needs_building(request: SourceRequest, line: str) -> WrongInput:
    return WrongInput(
        f"{request.requirements} of {request.name} has a package that would have to be built: {ADDRESS.sub('…', line)}",
        why="nospof carries ready-made wheels to the hosts; it builds nothing",
        fix="put the package's code into the folder itself, or name a released version of it",
    )


def _without_addresses(said: str) -> str:
    """Keep pip's last error lines, without the places it asked: they may be secret, or hold passwords."""
    hosts = {host for found in HOST.findall(said) for host in found if host}
    text = ADDRESS.sub("…", said)
    for host in sorted(hosts, key=lambda host: (-len(host), host)):
        text = text.replace(host, "…")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("Looking in")]
    first = next((at for at, line in enumerate(lines) if line.lower().startswith("error")), 0)
    return "\n".join(line[:DETAIL_WIDTH] for line in lines[first:][-DETAIL_LINES:])


# --- the cache ----------------------------------------------------------------------------------------------------------
def _store(files: Sequence[_File], cache: Path) -> str:
    """Write the tar of `files` and return its sha256, which is its name."""
    with _new_folder(cache) as folder:
        with tarfile.open(folder / "tar", "w", format=tarfile.PAX_FORMAT) as archive:
            for file in files:
                archive.addfile(file.entry(), io.BytesIO(file.content) if file.content is not None else None)
        with (folder / "tar").open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            os.fsync(stream.fileno())
        _rename(folder / "tar", blob_path(cache, sha256))
    return sha256


def _written(path: Path, content: bytes) -> Path:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return path


def _rename(made: Path, final: Path) -> None:
    """Put `made` in its place, whole; what another run put there meanwhile is as good."""
    final.parent.mkdir(exist_ok=True)
    try:
        made.rename(final)
    except OSError:
        if not final.is_dir():
            raise


@contextmanager
def _new_folder(cache: Path) -> Iterator[Path]:
    """A folder to prepare something in, gone afterwards whatever happens."""
    with TemporaryDirectory(dir=cache, prefix=".new-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _sweep(cache: Path) -> None:
    """Remove what a run that was killed left behind; a run takes minutes, so a day is long enough to be sure."""
    for left in cache.glob(".new-*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > LEFTOVER_AGE_S:
                shutil.rmtree(left, ignore_errors=True)


def _digest(*parts: str) -> str:
    """sha256 of the parts, of which none can pass for two."""
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


# pip chooses files for the Python it is told, but decides by its own Python which requirements apply ("; python_version < …").
AS_ON_HOST = """
import runpy, sys
from pip._vendor.packaging import markers
python, machine = sys.argv[1:3]
host = {"implementation_name": "cpython", "implementation_version": python + ".0", "os_name": "posix",
        "platform_machine": machine, "platform_release": "", "platform_system": "Linux", "platform_version": "",
        "python_full_version": python + ".0", "platform_python_implementation": "CPython", "python_version": python,
        "sys_platform": "linux"}
markers.default_environment = lambda: dict(host)
sys.argv = ["pip", *sys.argv[3:]]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
