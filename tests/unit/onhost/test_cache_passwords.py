"""A server that pretends, and the files of its host: when passwords are loaded, and what is said to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pretender import Pretender, many
from pretender import cache_config as config

from nospof.onhost import cache_passwords as program
from nospof.onhost.cache_passwords import bring, replication_password
from nospof.onhost.resp import password_hashes

RULES = "user default off\nuser app on >new >old ~* +@all\n"


def kept(*passwords: str) -> str:
    words = " ".join(f"#{hashlib.sha256(one.encode()).hexdigest()}" for one in passwords)
    return f"user app on sanitize-payload {words} ~* &* +@all"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Pretender]:
    made = Pretender(tmp_path / "server.sock")
    made.answers = {
        "ACL LIST": many(kept("old", "new"), "user default off sanitize-payload resetchannels -@all"),
        "CONFIG GET": many("masterauth", "new"),
    }
    (tmp_path / "users.acl").write_text(RULES)
    (tmp_path / "replication.conf").write_text("# Written by nospof.\nmasterauth new\n")
    running = made.start()
    yield made
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    ("taken", "said", "told"),
    [
        (("old", "new"), "new", []),
        (("old",), "new", ["ACL LOAD"]),
        (("old", "new", "older"), "new", ["ACL LOAD"]),
        (("old", "new"), "old", ["CONFIG SET masterauth new"]),
        ((), "", ["ACL LOAD", "CONFIG SET masterauth new"]),
    ],
)
def test_only_what_differs_is_loaded(
    server: Pretender, tmp_path: Path, taken: tuple[str, ...], said: str, told: list[str]
) -> None:
    server.answers["ACL LIST"] = many(kept(*taken), "user default off sanitize-payload resetchannels -@all")
    server.answers["CONFIG GET"] = many("masterauth", said)

    assert bring(config(tmp_path).server, tmp_path, may_change=False) == (1 if told else 0)
    assert not any(words.startswith(("ACL LOAD", "CONFIG SET")) for words in server.asked)
    assert bring(config(tmp_path).server, tmp_path, may_change=True) == 0
    assert [words for words in server.asked if words.startswith(("ACL LOAD", "CONFIG SET"))] == told


def test_user_that_is_new_or_gone_is_seen() -> None:
    assert password_hashes(RULES.splitlines()) == password_hashes([kept("old", "new"), "user default off -@all"])
    assert password_hashes([*RULES.splitlines(), "user shop on >x"]) != password_hashes(RULES.splitlines())


def test_server_that_does_not_run_has_nothing_to_load(tmp_path: Path) -> None:
    (tmp_path / "users.acl").write_text(RULES)
    (tmp_path / "replication.conf").write_text("masterauth new\n")

    assert bring(config(tmp_path).server, tmp_path, may_change=True) == 0


def test_refusal_is_told_with_the_way_out_and_no_password(
    server: Pretender, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers["AUTH"] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
    (tmp_path / "agent.json").write_text(json.dumps(config(tmp_path).__dict__))
    (tmp_path / "passwords.json").write_text('{"server": "s3cret"}')

    assert program.main(["--folder", str(tmp_path)]) == 1
    assert "restart it" in caplog.text
    assert "s3cret" not in caplog.text


def test_file_that_names_no_password_is_an_error_and_no_empty_password() -> None:
    assert replication_password("# x\nmasterauth abc\n") == "abc"
    with pytest.raises(ValueError, match="names no password"):
        replication_password("# masterauth abc\n")
