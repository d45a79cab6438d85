"""What the adapter reads without asking the server."""

from __future__ import annotations

from nospof.onhost.agent.mariadb_seen import dead_peers

# db1 (198.18.1.6) sends to two replicas; the first confirms nothing any more, the second has one repeat only.
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 060112C6:0CEA 080112C6:DE08 01 000003E8:00000000 01:00000014 00000002     0        0 1 2
   1: 060112C6:0CEA 070112C6:9EAA 01 00000000:00000000 01:00000014 00000001     0        0 1 2
   2: 060112C6:0CEA 070112C6:9EAB 05 00000000:00000000 01:00000014 00000005     0        0 1 2
   3: 060112C6:1F48 070112C6:9EAC 01 00000000:00000000 01:00000014 00000005     0        0 1 2
"""


def test_peer_that_confirms_nothing_is_dead_and_others_are_not() -> None:
    assert dead_peers(TABLE, 3306) == ["198.18.1.8:56840"]


def test_empty_table_names_nobody() -> None:
    assert dead_peers(TABLE.splitlines()[0], 3306) == []
