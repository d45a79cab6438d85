"""What was rolled out is remembered, and a tier goes back to the release before the newest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from fakes import FakeHosts, Telling

from nospof.apply.gather import blob_path
from nospof.apply.plan import Plan
from nospof.apply.releases import KEPT, Gathered, forget_newest, one_before
from nospof.apply.rollout import Rollout
from nospof.apply.seal import Vault
from nospof.apply.state import Release, State
from nospof.component import Component, Facts
from nospof.errors import Failed
from nospof.resolve import Allotment, resolve
from nospof.stack.load import load
from nospof.topology import Topology

EXAMPLE = Path(__file__).parents[3] / "examples" / "distributed" / "stack.yaml"
NAME = "app/release"


class Site:
    """The example on hosts in memory, with the content of its application's folder as a word."""

    def __init__(self, tmp_path: Path) -> None:
        kinds = {name: kind.settings_type for name, kind in Component.kinds.items()}
        resolved = resolve(load(EXAMPLE, kinds), Allotment())
        self.topology = resolved.topology
        self.choices = {name: hosts[0] for name, hosts in resolved.allotment.placed.items()}
        self.state = State(tmp_path / "stack.yaml")
        self.state.begin("shop")
        self.hosts = FakeHosts([host.name for host in self.topology.hosts])
        self.folder = "aa" * 32

    def gather(self, topology: Topology, host: str, facts: Facts) -> Mapping[str, tuple[str, Callable[[], bytes]]]:
        return {NAME: (self.folder, lambda: b"content")}

    def up(self, older: Mapping[str, Release] | None = None) -> Plan:
        gathered = Gathered(self.gather, self.state, older or {})
        vault = Vault(self.state, self.topology, is_reading=False)
        rollout = Rollout(self.topology, self.choices, vault, self.hosts, gathered, Telling())
        plan = rollout.plan()
        if not plan.is_empty:
            rollout.apply(plan)
        if older is None:
            gathered.remember()
        return plan

    def back(self) -> Release:
        release = one_before(self.state, NAME)
        self.up({NAME: release})
        forget_newest(self.state, NAME)
        return release

    def served(self) -> set[str]:
        """The releases that the application's hosts have staged last."""
        hosts = [host for name, host in self.hosts.hosts.items() if name.startswith("web")]
        return {tree["blob"] for host in hosts for tree in trees(host.staged) if "/srv/" in tree["path"]}


def trees(manifest: object) -> list[dict[str, str]]:
    assert isinstance(manifest, dict)
    return [tree for instance in manifest["instances"] for tree in instance["trees"]]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_tier_goes_back_to_what_it_was_and_the_folder_comes_again_with_the_next_up(site: Site) -> None:
    site.up()
    site.folder = "bb" * 32
    site.up()
    assert set(site.back().hosts.values()) == {"aa" * 32}
    assert site.served() == {"aa" * 32}
    site.up()
    assert site.served() == {"bb" * 32}


def test_one_goes_back_further_each_time(site: Site) -> None:
    for word in ("aa", "bb", "cc"):
        site.folder = word * 32
        site.up()
    site.back()
    site.back()
    assert site.served() == {"aa" * 32}
    with pytest.raises(Failed, match="only one release was ever rolled out"):
        site.back()


def test_nothing_to_go_back_to_is_said(site: Site) -> None:
    with pytest.raises(Failed, match="nothing of it was rolled out from here"):
        site.back()


def test_same_content_again_is_no_other_release_and_old_ones_are_forgotten(site: Site) -> None:
    for number in range(KEPT + 3):
        site.folder = f"{number:02}" * 32
        site.up()
        site.up()
    known = site.state.releases()[NAME]
    assert [set(release.hosts.values()) for release in known] == [{f"{number:02}" * 32} for number in range(3, KEPT + 3)]


def test_content_that_a_host_no_longer_has_comes_from_the_cache_or_is_said_to_be_lost(site: Site) -> None:
    site.up()
    site.folder = "bb" * 32
    site.up()
    site.hosts.hosts["web2"].blobs.discard("aa" * 32)
    with pytest.raises(Failed, match="is neither on web2 nor here any more"):
        site.back()
    path = blob_path(site.state.folder / "cache", "aa" * 32)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"content")
    site.back()
    assert site.served() == {"aa" * 32}


def test_host_that_came_later_has_no_such_release(site: Site) -> None:
    site.up()
    known = site.state.releases()[NAME][0]
    hosts = {host: sha for host, sha in known.hosts.items() if host != "web2"}
    site.state.write_releases({NAME: (Release(1.0, hosts), known)})
    with pytest.raises(Failed, match="web2 never had that release of app/release"):
        site.back()
