from __future__ import annotations

from typing import Any

import pymysql
import pytest

from nospof.onhost.mariadb_pulse import BEAT, CREATE, beat, dead_peers, end_one_dead_feed

# db1 (198.18.1.6) sends to two replicas; the first confirms nothing any more, the second has one repeat only.
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 060112C6:0CEA 080112C6:DE08 01 000003E8:00000000 01:00000014 00000002     0        0 1 2
   1: 060112C6:0CEA 070112C6:9EAA 01 00000000:00000000 01:00000014 00000001     0        0 1 2
   2: 060112C6:0CEA 070112C6:9EAB 05 00000000:00000000 01:00000014 00000005     0        0 1 2
   3: 060112C6:1F48 070112C6:9EAC 01 00000000:00000000 01:00000014 00000005     0        0 1 2
"""


class FakeServer:
    """Answers by the beginning of a statement; an exception is raised."""

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.answers, self.asked = answers or {}, list[str]()

    def rows(self, statement: str) -> list[dict[str, Any]]:
        self.asked.append(statement)
        for start, said in self.answers.items():
            if statement.startswith(start) and isinstance(said, Exception):
                del self.answers[start]
                raise said
            if start in statement:
                return list(said)
        return []


def test_peer_that_confirms_nothing_is_dead_and_others_are_not() -> None:
    assert dead_peers(TABLE, 3306) == ["198.18.1.8:56840"]


def test_empty_table_names_nobody() -> None:
    assert dead_peers(TABLE.splitlines()[0], 3306) == []


def test_one_feed_is_ended_at_a_time() -> None:
    """Two at once are what makes the primary hang."""
    server = FakeServer({"198.18.1.7": [{"id": 7}], "198.18.1.8": [{"id": 8}]})
    end_one_dead_feed(server, ["198.18.1.7:1", "198.18.1.8:2"])  # type: ignore[arg-type]
    assert [statement for statement in server.asked if statement.startswith("KILL")] == ["KILL 7"]


def test_connection_that_is_no_feed_is_left_alone() -> None:
    server = FakeServer()
    end_one_dead_feed(server, ["198.18.1.7:1"])  # type: ignore[arg-type]
    assert not [statement for statement in server.asked if statement.startswith("KILL")]


def test_missing_table_is_made() -> None:
    server = FakeServer({"REPLACE": pymysql.err.ProgrammingError(1146, "no such table")})
    beat(server)  # type: ignore[arg-type]
    assert server.asked == [BEAT, *CREATE]


def test_read_only_server_is_not_worked_around() -> None:
    server = FakeServer({"REPLACE": pymysql.err.OperationalError(1290, "read only")})
    with pytest.raises(pymysql.Error):
        beat(server)  # type: ignore[arg-type]
    assert server.asked == [BEAT]
