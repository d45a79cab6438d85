"""What the adapters read of the servers' answers."""

from __future__ import annotations

import pytest

from nospof.onhost.agent.mariadb_seen import waits_of


@pytest.mark.parametrize("name", ["Rpl_semi_sync_master", "Rpl_semi_sync_source"])
def test_one_answer_says_whether_it_waits_and_how_many_do(name: str) -> None:
    told = {"clients": "2", "net_waits": "9", "off_times": "0", "status": "ON", "tx_waits": "7", "wait_sessions": "3"}
    rows = [{"Variable_name": f"{name}_{what}", "Value": value} for what, value in told.items()]
    assert waits_of(rows) == (True, 3)
    rows[3] = {**rows[3], "Value": "OFF"}
    assert waits_of(rows) == (False, 3)
