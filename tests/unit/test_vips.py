"""Moving the VIPs of real servers once: what is remembered, and what is said where the network does not follow."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.stacks import NOTHING_ALLOTTED, example

from nospof.apply.state import State
from nospof.apply.transport import Finished
from nospof.deployment import Answer
from nospof.errors import Failed
from nospof.resolve import resolve
from nospof.vips import try_vips

TOPOLOGY = resolve(example("distributed"), NOTHING_ALLOTTED).topology
VIP = TOPOLOGY.vips[0]


class Site:
    """Two load balancers; who lets go of the VIP loses it to the other. `is_found_at`: where the network finds it."""

    def __init__(self, folder: Path, is_found_at: tuple[str, ...] = VIP.hosts, *, is_taken: bool = True) -> None:
        self.state, self.topology = State(folder / "stack.yaml"), TOPOLOGY
        self.state.begin("shop")
        self.is_found_at, self.is_taken = is_found_at, is_taken
        self.holder, self.moves, self.looks = VIP.hosts[0], 0, 0
        self.servers = SimpleNamespace(run=self.run)

    def run(self, host: str, argv: tuple[str, ...], timeout_s: float) -> Finished:
        assert argv == ("systemctl", "restart", "keepalived.service")
        if self.is_taken and host == self.holder:
            self.holder = next(other for other in VIP.hosts if other != host)
        self.moves += 1
        return Finished(0, b"", b"")

    def status(self) -> Any:
        self.looks += 1
        return SimpleNamespace(holders={VIP.name: (self.holder,)})

    def ask_at(self, address: str) -> Answer:
        assert address == VIP.address
        if self.holder not in self.is_found_at:
            raise Failed("the site does not answer well: no answer")
        return Answer("https://shop.example.com/", 200, 0.1)


def tried(site: Site) -> list[str]:
    said: list[str] = []
    try_vips(site, SimpleNamespace(phase=said.append))  # type: ignore[arg-type]
    return said


def test_vip_is_moved_once_and_not_again_while_its_hosts_are_the_same(tmp_path: Path) -> None:
    site = Site(tmp_path)

    first = tried(site)
    looks = site.looks
    second = tried(site)

    assert f"moving {VIP.address} away from {VIP.hosts[0]} once" in first[0]
    assert f"found at {VIP.hosts[1]}" in first[1]
    assert (second, site.moves) == ([], 1)
    assert site.looks == looks, "no host is asked when there is nothing to try"

    site.state.write_moved_vips(frozenset({f"{VIP.address} lb1 another"}))
    assert tried(site), "with other hosts nothing is known of it"


def test_network_that_does_not_follow_is_told_with_what_helps_and_the_vip_is_back(tmp_path: Path) -> None:
    site = Site(tmp_path, is_found_at=VIP.hosts[:1])

    with pytest.raises(Failed) as caught:
        tried(site)

    assert f"was taken by {VIP.hosts[1]}, and was not found there; {VIP.hosts[0]} has it again" in caught.value.what
    assert "options: {keepalived: {move: ./FOLDER}}" in caught.value.fix
    assert site.holder == VIP.hosts[0]
    assert site.state.moved_vips() == frozenset(), "the next run tries again"


def test_vip_that_nobody_takes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nospof.vips.MOVES_WITHIN_S", 0.3)
    with pytest.raises(Failed, match=f"nobody took the VIP {VIP.address}"):
        tried(Site(tmp_path, is_taken=False))
