from __future__ import annotations

import io
import marshal
import os
import tarfile
from pathlib import Path

import pytest

from nospof.onhost import stage
from nospof.onhost.manifest import File, Tree
from nospof.onhost.stage import NotReady, check, unpack


def archive(names: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return stream.getvalue()


def links(*pairs: tuple[str, str]) -> bytes:
    """A tar of symbolic links."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, target in pairs:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return stream.getvalue()


def test_tree_is_unpacked_whole(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path / "releases" / "aa"), "aa")
    unpack(tree, {"aa": archive({"app/shop.py": "x"})})
    assert (tmp_path / "releases" / "aa" / "app" / "shop.py").read_text() == "x"
    unpack(tree, {})


def test_programs_are_compiled_when_they_are_laid_down(tmp_path: Path) -> None:
    """Incident: the first failover compiled what it needed, which cost it time and changed files long after the roll-out."""
    tree = Tree(str(tmp_path / "releases" / "aa"), "aa")
    unpack(tree, {"aa": archive({"app/shop.py": "def sell(): pass\n", "app/old.py": "print 'no longer Python'\n"})})
    (compiled,) = (tmp_path / "releases" / "aa").rglob("*.pyc")
    told = marshal.loads(compiled.read_bytes()[16:])
    assert told.co_filename == f"{tree.path}/app/shop.py"


def test_tree_that_cannot_be_unpacked_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotReady):
        unpack(Tree(str(tmp_path / "aa"), "aa"), {"aa": b"no archive at all" * 100})
    assert list(tmp_path.iterdir()) == []


def test_path_that_leads_out_of_the_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotReady):
        unpack(Tree(str(tmp_path / "in" / "aa"), "aa"), {"aa": archive({"../../evil": "x"})})
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("target", ["/etc", "../..", "../../etc/passwd"])
def test_link_that_leads_out_of_the_tree_is_refused(tmp_path: Path, target: str) -> None:
    # Incident: Debian 12's Python 3.11.2 knows no extraction filter, so nothing could be unpacked there at all.
    with pytest.raises(NotReady, match="inside of it"):
        unpack(Tree(str(tmp_path / "tree-1"), "b"), {"b": links(("app/link", target))})
    assert not list(tmp_path.iterdir())


def test_path_through_a_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="inside of it"):
        unpack(Tree(str(tmp_path / "tree-1"), "b"), {"b": links(("a", "b"), ("a/c", "d"))})


def test_link_inside_the_tree_is_kept(tmp_path: Path) -> None:
    unpack(Tree(str(tmp_path / "tree-1"), "b"), {"b": links(("app/link", "../static"))})
    assert str((tmp_path / "tree-1/app/link").readlink()) == "../static"


def test_half_unpacked_tree_of_a_dead_run_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / ".nospof-dead").mkdir()
    unpack(Tree(str(tmp_path / "aa"), "aa"), {"aa": archive({"x": "x"})})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["aa"]


def test_content_that_was_not_sent_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="was not sent"):
        unpack(Tree(str(tmp_path / "aa"), "aa"), {})


@pytest.mark.skipif(os.getuid() != 0, reason="a mount namespace needs root")
def test_checker_sees_the_staged_file_and_the_machine_does_not() -> None:
    path = "/etc/nospof-unit-test.conf"
    good = File(path, "fine\n", 0o644, "root", "whole", ("grep", "-q", "fine", path), {})
    bad = File(path, "oh no\n", 0o644, "root", "whole", ("sh", "-c", f"cat {path}; exit 1"), {})
    assert check([good]) == []
    [complaint] = check([bad])
    assert complaint == f"{path} is refused by sh:\noh no"
    assert not Path(path).exists()


@pytest.mark.skipif(os.getuid() != 0, reason="a mount namespace needs root")
def test_checker_that_is_not_there_is_a_complaint_and_not_a_yes() -> None:
    path = "/etc/nospof-unit-test.conf"
    [complaint] = check([File(path, "", 0o644, "root", "whole", ("/no/such/checker",), {})])
    assert "there is no /no/such/checker" in complaint


APT = """#!/bin/sh
echo "apt-get $*" >>"$FOLDER/said"
touch "$FOLDER/installed"
"""
DPKG = """#!/bin/sh
if [ -e "$FOLDER/installed" ]; then echo "haproxy installed"; fi
"""
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>"$FOLDER/said"
[ "$1" = list-unit-files ] || exit 0
echo "ssh.service enabled enabled"
if [ -e "$FOLDER/installed" ]; then echo "haproxy.service enabled enabled"; fi
"""


def test_what_packages_bring_does_not_start_at_the_next_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian enables what it installs: HAProxy itself would come up where only the database's router is wanted."""
    for name, text in (("apt-get", APT), ("dpkg-query", DPKG), ("systemctl", SYSTEMCTL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("FOLDER", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(stage, "NOT_AGAIN", str(tmp_path / "policy-rc.d"))
    stage.install_packages(("haproxy",))
    said = (tmp_path / "said").read_text().splitlines()
    assert [line for line in said if "disable" in line] == ["systemctl disable haproxy.service"]
    assert not (tmp_path / "policy-rc.d").exists()
    stage.install_packages(("haproxy",))
    assert (tmp_path / "said").read_text().splitlines() == said
