"""Having a certain server of a cache lead, where Sentinels choose who is next."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest
from tests.unit.drills.test_cache_write import shop

from nospof.apply.transport import Finished
from nospof.drills.ground import Ground
from nospof.drills.leading import MOST_HANDOVERS, have_lead
from nospof.errors import Failed


class Servers:
    """c1 leads first; each handover goes to the next of `order`."""

    def __init__(self, *order: str, exit_code: int = 0) -> None:
        self.topology, self.leads, self.order, self.exit_code = shop("valkey"), "c1", list(order), exit_code
        self.asked: list[tuple[str, Sequence[str]]] = []

    def status(self) -> object:
        hosts = ("c1", "c2", "c3")
        return SimpleNamespace(instances=[SimpleNamespace(tier="sessions", host=one, leads=one == self.leads) for one in hosts])

    def run(self, host: str, argv: Sequence[str]) -> Finished:
        self.asked.append((host, argv))
        self.leads = self.order.pop(0) if self.order else self.leads
        return Finished(self.exit_code, b"", b"")


def have(servers: Servers, host: str) -> None:
    have_lead(cast(Ground, servers), "sessions", host, lambda text: None, lambda: None)


def test_who_leads_already_is_left_alone() -> None:
    servers = Servers()

    have(servers, "c1")

    assert servers.asked == []


def test_leader_is_asked_to_leave_until_the_wanted_one_leads() -> None:
    servers = Servers("c2", "c1", "c2")

    have(servers, "c2")

    assert [host for host, _ in servers.asked] == ["c1"]
    assert list(servers.asked[0][1][-3:]) == ["leave", "--to", "c2"]


def test_it_is_tried_again_where_another_one_was_chosen() -> None:
    servers = Servers("c2", "c1", "c2")
    servers.leads = "c1"

    with pytest.raises(Failed, match="c3 did not become primary"):
        have(servers, "c3")
    assert len(servers.asked) == MOST_HANDOVERS


def test_failed_handover_is_told() -> None:
    with pytest.raises(Failed, match="did not hand over"):
        have(Servers(exit_code=1), "c2")
