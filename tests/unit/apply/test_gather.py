"""Gathering against folders made here and wheels made here: pip is real, the network is not used."""

import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from nospof.apply.gather import Gathering, SourceRequest, blob_path, gather, request_for
from nospof.component import Component, Facts, Source
from nospof.errors import Failed, NospofError, WrongInput
from nospof.topology import Host, Instance, InstanceId, Topology

FACTS = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, 4096, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "app"
    (made / "static").mkdir(parents=True)
    (made / "shop.py").write_text("app = None\n")
    (made / "static" / "style.css").write_text("body {}\n")
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place pip looks."""
    made = tmp_path / "wheels"
    made.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return made


def make_wheel(folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any", *needs: str) -> None:
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {n}\n" for n in needs)
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"version = {version!r}\n")
        wheel.writestr(f"{name}/node_modules/kept.js", "")
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")


def plain(folder: Path) -> SourceRequest:
    return SourceRequest("web/site", folder)


def with_requirements(folder: Path, text: str | None = None) -> SourceRequest:
    if text is not None:
        (folder / "requirements.txt").write_text(text)
    return request_for("app/release", Source("release", folder.name, "requirements.txt"), folder.parent, FACTS)


def blob(request: SourceRequest, cache: Path) -> bytes:
    return blob_path(cache, gather([request], cache, lambda line: None)[request]).read_bytes()


def entries(content: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {entry.name: entry for entry in archive.getmembers()}


def failure(request: SourceRequest, cache: Path) -> NospofError:
    with pytest.raises(NospofError) as caught:
        gather([request], cache, lambda line: None)
    assert caught.value.what
    assert caught.value.fix or caught.value.why
    return caught.value


def leftovers(cache: Path) -> list[Path]:
    return list(cache.glob(".new-*"))


# --- the folder ---------------------------------------------------------------------------------------------------------
def test_same_content_gives_the_same_bytes_whatever_the_clock_and_the_cache_say(folder: Path, tmp_path: Path) -> None:
    first = blob(plain(folder), tmp_path / "one")
    os.utime(folder / "shop.py", (1, 1))
    (folder / "shop.py").chmod(0o600)
    (folder / "static").chmod(0o700)

    assert blob(plain(folder), tmp_path / "two") == first


def test_changed_content_gives_another_time_so_that_nothing_old_is_served(folder: Path, cache: Path) -> None:
    """Same size, other content: nginx's ETag and Python's bytecode cache look at time and size only."""
    before = entries(blob(plain(folder), cache))["app/static/style.css"]
    (folder / "static" / "style.css").write_text("main {}\n")
    after = entries(blob(plain(folder), cache))["app/static/style.css"]

    assert before.size == after.size
    assert before.mtime != after.mtime
    assert 0 <= after.mtime < 2**30


def test_everything_belongs_to_root_with_fixed_modes(folder: Path, cache: Path) -> None:
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / "shop.py").chmod(0o600)

    found = entries(blob(plain(folder), cache))

    assert {(entry.uid, entry.gid, entry.uname) for entry in found.values()} == {(0, 0, "")}
    assert {name: oct(entry.mode) for name, entry in found.items()} == {
        "app": "0o755",
        "app/run.sh": "0o755",
        "app/shop.py": "0o644",
        "app/static": "0o755",
        "app/static/style.css": "0o644",
    }


def test_what_tools_left_and_the_stacks_secrets_stay_here(folder: Path, cache: Path) -> None:
    for name in (".git", "__pycache__", ".venv", "node_modules", ".nospof"):
        (folder / name).mkdir()
        (folder / name / "inside").write_text("")
    (folder / "env").mkdir()
    (folder / "env" / "pyvenv.cfg").write_text("")
    (folder / "old.pyc").write_bytes(b"")

    assert set(entries(blob(plain(folder), cache))) == {"app", "app/shop.py", "app/static", "app/static/style.css"}


def test_links_inside_the_folder_stay_links(folder: Path, cache: Path) -> None:
    (folder / "static" / "main.css").symlink_to("style.css")
    (folder / "code").symlink_to("shop.py")

    found = entries(blob(plain(folder), cache))

    assert found["app/static/main.css"].linkname == "style.css"
    assert found["app/code"].issym()


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "static/up/../../outside", "loop"])
def test_links_that_leave_the_folder_are_refused(folder: Path, cache: Path, target: str) -> None:
    (folder / "static" / "up").symlink_to("..")
    (folder / "loop").symlink_to(target)

    problem = failure(plain(folder), cache)

    assert isinstance(problem, WrongInput)
    assert "loop" in problem.what


def test_a_pipe_is_refused_by_name(folder: Path, cache: Path) -> None:
    os.mkfifo(folder / "static" / "pipe")

    assert "static/pipe" in failure(plain(folder), cache).what


def test_a_file_name_that_is_not_utf8_is_refused_readably(folder: Path, cache: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))).write_text("")

    assert "caf\\xe9" in str(failure(plain(folder), cache)).encode().decode()


def test_a_missing_folder_is_the_users_mistake(tmp_path: Path, cache: Path) -> None:
    assert isinstance(failure(plain(tmp_path / "nix"), cache), WrongInput)


# --- wheels -------------------------------------------------------------------------------------------------------------
def test_wheels_for_the_hosts_python_are_unpacked_beside_the_application(folder: Path, cache: Path, wheels: Path) -> None:
    make_wheel(wheels, "hello", "1.0", "cp313-cp313-manylinux_2_34_x86_64")
    make_wheel(wheels, "hello", "2.0", "cp311-cp311-manylinux_2_34_x86_64")  # the newest, but for another Python

    content = blob(with_requirements(folder, "hello\n"), cache)

    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = archive.extractfile("site-packages/hello/__init__.py")
        assert member is not None
        assert member.read() == b"version = '1.0'\n"
    assert "site-packages/hello/node_modules/kept.js" in entries(content)


def test_every_kind_of_wheel_the_host_can_use_is_taken(folder: Path, cache: Path, wheels: Path) -> None:
    tags = {"pure": "py3-none-any", "stable": "cp39-abi3-manylinux2014_x86_64", "newest": "cp313-cp313-manylinux_2_41_x86_64"}
    for name, tag in tags.items():
        make_wheel(wheels, name, "1.0", tag)

    found = entries(blob(with_requirements(folder, "\n".join(tags)), cache))

    assert {f"site-packages/{name}/__init__.py" for name in tags} <= set(found)


def test_conditions_are_those_of_the_host_and_not_of_this_machine(folder: Path, cache: Path, wheels: Path) -> None:
    """pip evaluates "; python_version …" with its own Python: what only the host needs was not fetched."""
    make_wheel(wheels, "hello", "1.0", "py3-none-any", 'newer; python_version >= "3.99"', 'older; python_version < "3.99"')
    make_wheel(wheels, "newer")
    make_wheel(wheels, "older")
    (folder / "requirements.txt").write_text("hello\n")

    found = entries(blob(SourceRequest("app/release", folder, "requirements.txt", "3.99", "x86_64", "13.1"), cache))

    assert "site-packages/newer/__init__.py" in found
    assert "site-packages/older/__init__.py" not in found


def test_nothing_of_this_machine_travels(folder: Path, tmp_path: Path, wheels: Path) -> None:
    """Else the same release would differ from one controlling machine to the next."""
    make_wheel(wheels, "hello")
    content = blob(with_requirements(folder, f"hello @ {(wheels / 'hello-1.0-py3-none-any.whl').as_uri()}\n"), tmp_path / "one")

    assert not [name for name in entries(content) if "/bin" in name or "direct_url" in name]
    assert str(tmp_path).encode() not in content.replace((folder / "requirements.txt").read_bytes(), b"")
    assert sys.executable.encode() not in content


def test_the_second_time_needs_neither_pip_nor_network(
    folder: Path, cache: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheels, "hello")
    request = with_requirements(folder, "hello\n")
    said: list[str] = []
    first = gather([request], cache, said.append)
    monkeypatch.setattr(subprocess, "run", None)

    assert gather([request], cache, said.append) == first
    (folder / "shop.py").write_text("app = 1\n")
    assert gather([request], cache, said.append) != first
    assert said == ["app/release: fetching packages for Python 3.13 on x86_64"]


def test_a_changed_file_that_requirements_include_counts(folder: Path, cache: Path, wheels: Path) -> None:
    make_wheel(wheels, "hello", "1.0")
    make_wheel(wheels, "hello", "2.0")
    (folder / "base.txt").write_text("hello==1.0\n")
    assert "site-packages/hello-1.0.dist-info/RECORD" in entries(blob(with_requirements(folder, "-r base.txt\n"), cache))

    (folder / "base.txt").write_text("hello==2.0\n")

    assert "site-packages/hello-2.0.dist-info/RECORD" in entries(blob(with_requirements(folder), cache))


def test_content_without_packages_is_the_same_for_every_host(folder: Path) -> None:
    other = Facts("3.11", "12.5", "aarch64", "eth0", 24, 20000, 4096, 2)
    source = Source("site", folder.name)

    assert request_for("web/site", source, folder.parent, FACTS) == request_for("web/site", source, folder.parent, other)


# --- what goes wrong ----------------------------------------------------------------------------------------------------
def test_missing_requirements_say_how_to_do_without(folder: Path, cache: Path) -> None:
    problem = failure(with_requirements(folder), cache)

    assert isinstance(problem, WrongInput)
    assert 'requirements: ""' in problem.fix


def test_a_package_that_does_not_exist_is_named(folder: Path, cache: Path, wheels: Path) -> None:
    problem = failure(with_requirements(folder, "nospof-nix==1\n"), cache)

    assert isinstance(problem, WrongInput)
    assert problem.what == "there is no package nospof-nix==1"


def test_a_package_that_is_source_only_is_told_from_one_that_does_not_exist(folder: Path, cache: Path, wheels: Path) -> None:
    with tarfile.open(wheels / "hello-1.0.tar.gz", "w:gz"):
        pass
    problem = failure(with_requirements(folder, "hello\n"), cache)

    assert isinstance(problem, WrongInput)
    assert problem.what == "hello has no ready-made wheel for Python 3.13 on x86_64"


def test_a_version_without_wheel_names_those_that_have_one(folder: Path, cache: Path, wheels: Path) -> None:
    make_wheel(wheels, "hello", "1.0")
    make_wheel(wheels, "hello", "2.0", "cp313-cp313-win_amd64")

    problem = failure(with_requirements(folder, "hello==2.0\n"), cache)

    assert "hello==2.0 has no ready-made wheel for Python 3.13 on x86_64" in problem.what
    assert "1.0" in problem.fix


@pytest.mark.parametrize("line", ["-e .", "./libs/thing", "thing @ git+https://user:hidden@example.com/thing", "git+ssh://x/y"])
def test_what_would_have_to_be_built_is_refused_at_once(folder: Path, cache: Path, line: str) -> None:
    problem = failure(with_requirements(folder, f"{line}\n"), cache)

    assert "would have to be built" in problem.what
    assert "hidden" not in str(problem)


def test_requirements_outside_the_folder_are_refused(folder: Path, cache: Path) -> None:
    assert isinstance(failure(with_requirements(folder, "-r ../other.txt\n"), cache), WrongInput)


def test_no_network_is_no_mistake_of_the_users_and_tells_no_address(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:hidden@127.0.0.1:9/simple")

    problem = failure(with_requirements(folder, "hello\n"), cache)

    assert isinstance(problem, Failed)
    assert "does not answer" in problem.what
    assert "hidden" not in str(problem)
    assert "127.0.0.1" not in str(problem)


def test_a_wheel_whose_address_does_not_answer_is_told_without_the_address(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    address = "http://someone:hidden@127.0.0.1:9/hello-1.0-py3-none-any.whl"

    problem = failure(with_requirements(folder, f"hello @ {address}\n"), cache)

    assert isinstance(problem, Failed)
    assert "refused" in problem.detail
    assert "hidden" not in str(problem)
    assert "127.0.0.1" not in str(problem)


def test_without_pip_the_command_that_brings_it_is_told(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    problem = failure(with_requirements(folder, "hello\n"), cache)

    assert "ensurepip" in problem.fix
    assert leftovers(cache) == []


# --- at once, and interrupted -------------------------------------------------------------------------------------------
def test_two_at_once_give_the_same(folder: Path, cache: Path, wheels: Path) -> None:
    make_wheel(wheels, "hello")
    request = with_requirements(folder, "hello\n")
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(gather([request], cache, lambda line: None)[request])) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 2
    assert len(set(found)) == 1
    assert leftovers(cache) == []


@pytest.fixture
def silent_index(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A package index that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.delenv("PIP_NO_INDEX", raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.getsockname()[1]}/simple")
        yield server


def test_an_interrupt_leaves_nothing_half(folder: Path, cache: Path, silent_index: socket.socket) -> None:
    with_requirements(folder, "hello\n")
    program = f"""
        from pathlib import Path
        from nospof.apply.gather import SourceRequest, gather
        gather([SourceRequest("a", Path({str(folder)!r}), "requirements.txt", "3.13", "x86_64")], Path({str(cache)!r}), print)
    """
    with subprocess.Popen([sys.executable, "-c", dedent(program)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
        connection, _ = silent_index.accept()  # pip is at work
        assert leftovers(cache)
        run.send_signal(signal.SIGINT)
        run.wait(10)
    connection.close()

    assert leftovers(cache) == []
    assert not list(cache.rglob("*"))


def test_what_a_killed_run_left_is_removed_after_a_day(folder: Path, cache: Path) -> None:
    (cache / ".new-old" / "site-packages").mkdir(parents=True)
    (cache / ".new-now").mkdir()
    os.utime(cache / ".new-old", (1, 1))

    gather([plain(folder)], cache, lambda line: None)

    assert leftovers(cache) == [cache / ".new-now"]


def test_a_lost_blob_is_made_again(folder: Path, cache: Path) -> None:
    before = blob(plain(folder), cache)
    for path in (cache / "blobs").iterdir():
        path.unlink()

    assert blob(plain(folder), cache) == before


def test_a_host_gets_what_its_instances_want_under_their_tiers_name(folder: Path, cache: Path) -> None:
    kind = Component.kinds["static"]
    instance = Instance(InstanceId("web", "web1"), "static", kind.settings_type.model_validate({"source": folder.name}))
    host = Host("web1", "a", "198.18.1.2", 1)
    topology = Topology("shop", "shop.example.com", (host,), (instance,), (), ())

    found = Gathering(folder.parent, cache, lambda line: None)(topology, "web1", FACTS)

    sha256, read = found["web/files"]
    assert list(found) == ["web/files"]
    assert hashlib.sha256(read()).hexdigest() == sha256
