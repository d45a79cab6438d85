"""How the command line ends: exit codes and texts, tried as a user does, in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples/distributed"


def nospof(*words: str, folder: Path = EXAMPLE, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line with `words`, after the statements `before`."""
    argv = [sys.executable, "-c", f"from nospof.cli import main\n{before}\nmain.main()", *words]
    return subprocess.run(argv, capture_output=True, text=True, cwd=folder, timeout=60, check=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Usage: nospof"),
        (("lab",), "Usage: nospof lab"),
        (("statsu",), "no such command 'statsu'. Did you mean 'status', 'state'?"),
        (("up", "--foo"), "no such option: --foo"),
        (("up", "one", "two"), "got unexpected extra argument"),
        (("shell",), "fix: nospof shell [STACK] HOST [-- COMMAND]"),
        (("lab", "off"), "fix: nospof lab off [STACK] HOST"),
    ],
)
def test_wrong_call_ends_with_2_and_says_how_it_is_called(words: tuple[str, ...], said: str) -> None:
    # Incident: typer no longer raises click's exceptions, so every wrong call was said to be a defect of nospof.
    done = nospof(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "defect" not in done.stderr


def test_exit_code_of_a_command_is_the_exit_code_of_the_process() -> None:
    # Incident: `nospof status` of a broken stack ended with 0, because typer hands the code back and nobody took it.
    done = nospof("status", before="from nospof.cli import status\nstatus.run = lambda *_, **__: 3")
    assert done.returncode == 3


@pytest.mark.parametrize(
    "words", [("shell", "db9"), ("shell", str(EXAMPLE), "db9"), ("lab", "off", "db9"), ("lab", "on", ".", "db9")]
)
def test_host_that_does_not_exist_is_answered_with_those_that_do(words: tuple[str, ...]) -> None:
    done = nospof(*words)
    assert done.returncode == 2
    assert "there is no host db9" in done.stderr
    assert "db1, db2, lb1, lb2, w1, web1, web2, client" in done.stderr


def test_interrupted_command_says_that_it_can_be_repeated() -> None:
    interrupt = "import os, signal\nfrom nospof.cli import up\nup.run = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)"
    done = nospof("up", before=interrupt)
    assert done.returncode == 3
    assert done.stderr == "interrupted\n  fix: run the same command again: it goes on from what was begun\n"


def test_help_loads_nothing_that_is_heavy() -> None:
    # `nospof --help` answers in less than 150 ms only while these stay lazy.
    heavy = {"pydantic", "rich", "jinja2", "ruamel", "cryptography", "nospof.deployment", "http.client"}
    done = nospof("--help", before=f"import atexit, sys\natexit.register(lambda: print({heavy!r} & set(sys.modules)))")
    assert done.stdout.endswith("set()\n")


def test_check_loads_nothing_that_only_other_commands_need() -> None:
    heavy = {"cryptography", "asyncio", "nospof.drills"}
    done = nospof("check", "--json", before=f"import atexit, sys\natexit.register(lambda: print({heavy!r} & set(sys.modules)))")
    assert done.stdout.endswith("set()\n")


def test_user_who_is_not_root_is_told_what_to_type_before_anything_is_begun(tmp_path: Path) -> None:
    # Incident: `nospof up` without root made .nospof/, then ended in a defect about a lock file.
    shutil.copytree(EXAMPLE, tmp_path / "shop", ignore=shutil.ignore_patterns(".nospof"))
    done = nospof("up", folder=tmp_path / "shop", before="import os\nos.geteuid = lambda: 1000")
    assert done.returncode == 2
    assert "only root can reach" in done.stderr
    assert "fix: sudo " in done.stderr
    assert not (tmp_path / "shop/.nospof").exists()


def test_document_and_picture_take_the_form_that_the_file_ends_with(tmp_path: Path) -> None:
    page, picture = tmp_path / "design.html", tmp_path / "stack.svg"

    assert nospof("explain", "--output", str(page)).returncode == 0
    assert nospof("diagram", "-o", str(picture)).returncode == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert picture.read_text().startswith("<svg ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["design.html", "stack.svg"]


def test_document_that_cannot_be_written_is_a_wrong_call() -> None:
    done = nospof("explain", "--output", "/nowhere/design.md")
    assert done.returncode == 2
    assert "/nowhere/design.md cannot be written: No such file or directory" in done.stderr
