"""Progress: who had the same done to them shares a line, in the order in which it was first said."""

from __future__ import annotations

import pytest

from nospof.cli.screen import Lines


def test_hosts_with_the_same_news_share_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as progress:
        progress.phase("hosts")
        for host in ("web2", "web1", "db1"):
            progress.host(host, "boots")
        for host in ("web1", "db1", "web2"):
            progress.host(host, "is up")
        progress.phase("database")
        progress.host("db1", "mariadb started")
    said = [line[9:].rstrip() for line in capsys.readouterr().out.splitlines()]
    assert said == [
        " hosts",
        "   db1, web1, web2       are up",
        " database",
        "   db1                   mariadb started",
    ]


def test_what_was_going_on_is_still_said_when_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(progress: Lines) -> None:
        progress.host("db1", "boots")
        raise RuntimeError

    with Lines() as progress, pytest.raises(RuntimeError):
        fail(progress)
    assert "db1                   boots" in capsys.readouterr().out


def test_many_hosts_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as progress:
        for number in range(40):
            progress.host(f"web{number}", "is up")
    assert "40 hosts" in capsys.readouterr().out
