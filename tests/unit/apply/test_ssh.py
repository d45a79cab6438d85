"""The way over OpenSSH, with a stand-in for ssh that runs the remote command here: who is told what, whatever happens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nospof.apply.ssh import OpenSsh, Server
from nospof.apply.transport import Finished, Outcome, Unknown, Unreachable

# What the machines in between would do: ssh runs its last argument with the user's shell, systemd-run what stands after --.
SSH = """#!/bin/sh
printf "%s " "$@" | tr "\\n" " " >>"$FOLDER/calls"; echo >>"$FOLDER/calls"
[ ! -e "$FOLDER/refused" ] || { echo 'Permission denied (publickey).' >&2; exit 255; }
for last; do :; done
cat "$FOLDER/noise" 2>/dev/null
PATH="$FOLDER/bin:$PATH" exec sh -c "$last"
"""
SYSTEMD_RUN = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
SUDO = """#!/bin/sh
wants=no; has=no; looks=no
[ ! -e "$FOLDER/password" ] || wants=yes
while :; do case "$1" in
    -n | -k) shift ;;
    -S) has=yes; shift ;;
    -p) shift 2 ;;
    -v) looks=yes; break ;;
    --) shift; break ;;
esac; done
if [ $wants = yes ]; then
    [ $has = yes ] || exit 1
    IFS= read -r given
    [ "$given" = "$(cat "$FOLDER/password")" ] || exit 1
fi
[ $looks = no ] || exit 0
ROOT=yes exec "$@"
"""
ID = """#!/bin/sh
if [ "$ROOT" = yes ] || [ ! -e "$FOLDER/user" ]; then echo 0; else echo 1000; fi
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FOLDER", str(tmp_path))
    (tmp_path / "bin").mkdir()
    for name, text in (("ssh", SSH), ("bin/systemd-run", SYSTEMD_RUN), ("bin/sudo", SUDO), ("bin/id", ID)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    yield tmp_path
    while WAYS:
        WAYS.pop().close()


WAYS: list[OpenSsh] = []


def way(folder: Path, password: str = "") -> OpenSsh:
    """Closed when the test ends, else the folder of its connections would stay behind."""
    server = Server("web1", "192.0.2.1", user="ops", port=2222)
    WAYS.append(OpenSsh({"web1": server}, lambda: password, str(folder / "ssh")))
    return WAYS[-1]


def run(folder: Path, *argv: str, stdin: bytes = b"", timeout_s: float = 20.0, password: str = "") -> Outcome:
    return way(folder, password).run("web1", argv, stdin, timeout_s)


def test_what_goes_in_comes_out_byte_by_byte(folder: Path) -> None:
    content = bytes(range(256)) * 300 + b"\n\n"
    assert run(folder, "cat", stdin=content) == Finished(0, content, b"")


def test_words_with_blanks_quotes_and_dollars_arrive_as_they_are(folder: Path) -> None:
    words = ("a b", "it's", '"$HOME"', "\\n", "*", "")
    outcome = run(folder, "printf", "%s|", *words)
    assert isinstance(outcome, Finished)
    assert outcome.stdout.decode() == "".join(f"{word}|" for word in words)


@pytest.mark.parametrize("code", [0, 1, 127, 255])
def test_exit_code_is_the_commands_own_even_where_ssh_uses_it_too(folder: Path, code: int) -> None:
    assert run(folder, "sh", "-c", f"echo out; echo err >&2; exit {code}") == Finished(code, b"out\n", b"err\n")


def test_what_a_shell_prints_at_each_login_is_no_part_of_the_answer(folder: Path) -> None:
    (folder / "noise").write_text("Welcome to web1!\n0 updates\n")
    assert run(folder, "echo", "yes") == Finished(0, b"yes\n", b"")


def test_server_that_refuses_was_never_touched(folder: Path) -> None:
    (folder / "refused").touch()
    assert run(folder, "touch", str(folder / "begun")) == Unreachable("Permission denied (publickey).")
    assert not (folder / "begun").exists()


def test_connection_that_ends_in_the_midst_leaves_it_unknown(folder: Path) -> None:
    outcome = run(folder, "sh", "-c", "kill -9 $PPID; sleep 0.2")
    assert isinstance(outcome, Unknown)
    assert "the connection to web1 ended while the command ran" in outcome.reason


def test_command_that_does_not_end_in_time_is_unknown(folder: Path) -> None:
    assert run(folder, "sleep", "30", timeout_s=0.5) == Unknown("no answer from web1 within 0.5 s")


def test_server_that_says_nothing_was_not_reached(folder: Path) -> None:
    (folder / "ssh").write_text("#!/bin/sh\nsleep 30\n")
    assert run(folder, "true", timeout_s=0.5) == Unreachable("no answer within 0.5 s")


def test_user_and_port_of_the_stack_file_are_used_and_the_connection_is_kept(folder: Path) -> None:
    one = way(folder)
    one.run("web1", ("true",))
    one.run_anew("web1", ("true",))
    first, second = (folder / "calls").read_text().splitlines()[:2]
    assert "-l ops -p 2222" in first
    assert "ControlMaster=auto" in first
    assert "ControlMaster=no" in second
    assert "ControlPersist" not in second
    assert "BatchMode=yes" in first


def test_user_becomes_root_by_sudo(folder: Path) -> None:
    (folder / "user").touch()
    assert run(folder, "id") == Finished(0, b"0\n", b"")


def test_password_is_given_once_asked_for_and_not_read_as_part_of_the_request(folder: Path) -> None:
    (folder / "user").touch()
    (folder / "password").write_text("correct horse\n")
    assert run(folder, "cat", stdin=b"request\n", password="correct horse") == Finished(0, b"request\n", b"")
    assert "correct horse" not in (folder / "calls").read_text()


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "sudo asks for a password, and there is no terminal to ask for it"),
        ("wrong", "sudo refuses: the password is wrong, or the user may not become root"),
    ],
)
def test_without_the_password_nothing_is_begun(folder: Path, password: str, why: str) -> None:
    (folder / "user").touch()
    (folder / "password").write_text("correct horse\n")
    one = way(folder, password)
    for _ in range(2):
        assert one.run("web1", ("touch", str(folder / "begun"))) == Unreachable(why)
    assert not (folder / "begun").exists()


def test_user_without_sudo_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "user").touch()
    (folder / "bin/sudo").unlink()
    monkeypatch.setenv("PATH", f"{folder}/bin:{_without_sudo(folder)}")
    assert run(folder, "true") == Unreachable("its user is not root and there is no sudo")


def _without_sudo(folder: Path) -> Path:
    """The programs that the script itself needs, and nothing else."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "echo"):
        found = next(Path(place) / name for place in os.environ["PATH"].split(":") if (Path(place) / name).exists())
        (tools / name).symlink_to(found)
    return tools
