"""`up` against hosts in memory that lie, hang and die."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeHosts, Misdeed, Telling

from nospof.apply.plan import Plan, activation_order, host_order
from nospof.apply.rollout import Rollout
from nospof.apply.seal import Vault
from nospof.apply.state import State
from nospof.component import Component, Facts
from nospof.errors import Failed, NospofError, Uncertain
from nospof.render.firewall import RULES_PATH
from nospof.resolve import Allotment, resolve
from nospof.stack.load import load
from nospof.topology import Topology

EXAMPLE = Path(__file__).parents[3] / "examples" / "distributed" / "stack.yaml"


def topology_of(path: Path, old: Allotment | None = None) -> tuple[Topology, dict[str, str]]:
    kinds = {name: kind.settings_type for name, kind in Component.kinds.items()}
    resolved = resolve(load(path, kinds), old or Allotment())
    assert not resolved.problems
    return resolved.topology, {name: hosts[0] for name, hosts in resolved.allotment.placed.items()}


class Site:
    """The example on hosts in memory; every `rollout()` is a run of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.topology, self.choices = topology_of(EXAMPLE)
        self.state = State(tmp_path / "stack.yaml")
        self.state.begin("shop")
        self.hosts = FakeHosts([host.name for host in self.topology.hosts])
        self.progress = Telling()
        self.release = "cd" * 32

    def rollout(self) -> Rollout:
        vault = Vault(self.state, self.topology, is_reading=False)
        return Rollout(self.topology, self.choices, vault, self.hosts, self.gather, self.progress)

    def gather(self, topology: Topology, host: str, facts: Facts) -> Mapping[str, tuple[str, Callable[[], bytes]]]:
        return {"app/release": (self.release, lambda: b"the release")}

    def up(self) -> Plan:
        rollout = self.rollout()
        plan = rollout.plan()
        if not plan.is_empty:
            rollout.apply(plan)
        return plan

    def trips(self) -> list[tuple[str, ...]]:
        """What each trip activated, in their order."""
        return [names for _, phase, names in self.hosts.done if phase == "activate"]

    def activated(self) -> list[tuple[str, str]]:
        """(tier, host) in the order of activation, without the base and the firewall."""
        pairs = [(name, name.partition("/")[2]) for names in self.trips() for name in names]
        tiers = [(name.partition("/")[0], host) for name, host in pairs]
        return [(tier, host) for tier, host in tiers if tier not in ("base", "firewall")]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_second_up_changes_nothing(site: Site) -> None:
    site.up()
    trips_before = len(site.hosts.done)
    assert site.up().is_empty
    assert {phase for _, phase, _ in site.hosts.done[trips_before:]} == {"facts", "compare"}


def test_plan_changes_nothing_on_any_host(site: Site) -> None:
    plan = site.rollout().plan()
    assert {change.host for change in plan.changes} == set(site.hosts.hosts)
    assert {phase for _, phase, _ in site.hosts.done} == {"facts", "compare"}


def test_callees_are_activated_before_callers(site: Site) -> None:
    site.up()
    firsts = list(dict.fromkeys(tier for tier, _ in site.activated()))
    for callee, caller in [
        ("database", "database-router"),
        ("database-router", "app"),
        ("app", "web"),
        ("web", "load-balancer"),
        ("load-balancer", "keepalived"),
        ("alertmanager", "monitoring"),
        ("node-exporter", "monitoring"),
    ]:
        assert firsts.index(callee) < firsts.index(caller)


def test_first_up_changes_a_layer_in_one_trip_and_what_follows_in_another(site: Site) -> None:
    site.up()
    trips = site.trips()
    assert ("etcd/db2", "node-exporter/db2") in trips
    assert ("database/db2",) in trips
    assert trips.index(("database/db1",)) < trips.index(("database/db2",))


def test_hosts_that_come_back_together_do_so_tier_by_tier(site: Site) -> None:
    site.up()
    for host in site.hosts.hosts.values():
        host.generation, host.stack_id, host.digest, host.is_retired = 0, "", "", True
        host.running.clear()
    site.hosts.done.clear()
    site.up()
    assert {len(trip) for trip in site.trips()} == {1}


def test_what_would_follow_is_not_begun_after_a_failure(site: Site) -> None:
    site.hosts.misdeeds[("db2", "activate")] = Misdeed.UNHEALTHY
    with pytest.raises(Failed) as failed:
        site.up()
    assert "host db2" in failed.value.what
    assert not [host for tier, host in site.activated() if tier == "database" and host == "db2"]


def test_address_comes_up_only_after_the_load_balancer_is_healthy(site: Site) -> None:
    order = activation_order(site.topology)
    assert order.index("load-balancer") < order.index("keepalived")


def test_everything_is_staged_everywhere_before_anything_is_activated(site: Site) -> None:
    site.up()
    phases = [phase for _, phase, _ in site.hosts.done]
    assert phases.index("activate") > max(index for index, phase in enumerate(phases) if phase == "stage")


def test_refused_configuration_on_one_host_replaces_nothing_anywhere(site: Site) -> None:
    site.hosts.misdeeds[("web2", "stage")] = Misdeed.NOT_READY
    with pytest.raises(Failed) as failed:
        site.up()
    assert "web2" in failed.value.what
    assert "line 3: no" in failed.value.detail
    assert not [phase for _, phase, _ in site.hosts.done if phase == "activate"]


def test_unhealthy_instance_stops_everything_after_it(site: Site) -> None:
    site.hosts.misdeeds[("web1", "activate")] = Misdeed.UNHEALTHY
    with pytest.raises(Failed) as failed:
        site.up()
    assert "no module named shop" in failed.value.detail
    assert "is back" in failed.value.what
    assert not [tier for tier, _ in site.activated() if tier in ("web", "load-balancer", "keepalived")]


def test_bad_release_never_reaches_the_second_host(site: Site) -> None:
    site.up()
    site.release = "ef" * 32
    site.hosts.done.clear()
    site.hosts.misdeeds[("web1", "activate")] = Misdeed.UNHEALTHY
    with pytest.raises(Failed):
        site.up()
    assert site.activated() == [("app", "web1")]


def test_visitors_are_led_away_from_what_changes_and_back_before_the_next_hosts_turn(site: Site) -> None:
    site.up()
    none = {"drain": "", "noticed_s": 0.0}
    assert all(care == none for care in site.hosts.care.values())  # nobody was served
    site.release = "ef" * 32
    for host in ("db1", "web1"):
        site.hosts.hosts[host].running.clear()
    site.hosts.care.clear()
    site.up()
    drained = {"drain": "/run/nospof-draining/app", "noticed_s": pytest.approx(0.45)}
    assert site.hosts.care["app/web1"] == site.hosts.care["app/web2"] == drained
    assert site.hosts.care["web/web1"] == {**drained, "drain": ""}
    # Who takes the writes follows from no health check.
    assert site.hosts.care["database/db1"] == none


def test_host_is_drained_only_where_another_one_serves(site: Site) -> None:
    site.up()
    site.hosts.care.clear()
    site.release = "ef" * 32
    site.hosts.misdeeds[("web2", "facts")] = Misdeed.UNREACHABLE
    with pytest.raises(Uncertain):
        site.up()
    assert site.hosts.care["app/web1"]["drain"] == ""


def test_visitors_who_stay_where_they_are_led_are_not_led_away(site: Site, tmp_path: Path) -> None:
    """With two hosts all would stay at the one that was changed first, until they leave."""
    text = EXAMPLE.read_text()
    sticky = text.replace("{component: haproxy,", "{component: haproxy, sticky: cookie,")
    assert sticky != text
    (tmp_path / "stack.yaml").write_text(sticky)
    shutil.copytree(EXAMPLE.parent / "app", tmp_path / "app")
    site.topology, site.choices = topology_of(tmp_path / "stack.yaml")
    site.up()
    site.hosts.care.clear()
    site.release = "ef" * 32
    site.up()
    assert site.hosts.care["app/web1"]["drain"] == site.hosts.care["app/web2"]["drain"] == ""


def test_serving_stack_is_changed_one_host_at_a_time_and_the_holder_last(site: Site) -> None:
    site.up()
    site.hosts.done.clear()
    site.hosts.hosts["lb1"].leads.add("load-balancer/lb1")
    for host in site.hosts.hosts.values():
        host.files["/etc/haproxy/haproxy.cfg"] = "old"
    site.up()
    assert site.activated() == [("load-balancer", "lb2"), ("load-balancer", "lb1")]


def test_change_of_one_file_activates_only_its_instance(site: Site) -> None:
    site.up()
    site.hosts.done.clear()
    site.hosts.hosts["db2"].files["/etc/mysql/mariadb.conf.d/99-nospof.cnf"] = "old"
    plan = site.up()
    assert {(change.host, change.tier) for change in plan.changes} == {("db2", "database")}
    assert site.activated() == [("database", "db2")]
    assert {host for host, phase, _ in site.hosts.done if phase not in ("facts", "compare")} == {"db2"}


@pytest.mark.parametrize("misdeed", [Misdeed.UNREACHABLE, Misdeed.HANGS, Misdeed.DIES])
def test_host_without_answer_is_unknown_and_blocks_nobody_else(site: Site, misdeed: Misdeed) -> None:
    site.up()
    site.hosts.hosts["db2"].files.clear()
    site.hosts.hosts["web1"].files["/etc/nginx/nginx.conf"] = "old"
    site.hosts.misdeeds[("db2", "facts")] = misdeed
    with pytest.raises(Uncertain) as uncertain:
        site.up()
    assert "db2" in uncertain.value.what
    assert site.hosts.hosts["web1"].files["/etc/nginx/nginx.conf"] != "old"


def test_plan_is_not_empty_while_a_host_is_unknown(site: Site) -> None:
    site.up()
    site.hosts.misdeeds[("db2", "compare")] = Misdeed.HANGS
    plan = site.rollout().plan()
    assert not plan.changes
    assert not plan.is_empty


@pytest.mark.parametrize("misdeed", [Misdeed.HANGS, Misdeed.DIES])
def test_lost_answer_in_the_middle_is_uncertain_and_the_next_up_converges(site: Site, misdeed: Misdeed) -> None:
    site.hosts.misdeeds[("db1", "activate")] = misdeed
    with pytest.raises(Uncertain):
        site.up()
    site.hosts.misdeeds.clear()
    site.up()
    assert site.up().is_empty


@pytest.mark.parametrize("phase", ["stage", "activate", "settle"])
@pytest.mark.parametrize("host", ["lb1", "web2", "db1", "w1"])
@pytest.mark.parametrize("misdeed", [Misdeed.UNREACHABLE, Misdeed.HANGS, Misdeed.DIES, Misdeed.LIES, Misdeed.CRASHES])
def test_whatever_a_host_does_in_whatever_phase_the_next_up_converges(
    site: Site, phase: str, host: str, misdeed: Misdeed
) -> None:
    site.hosts.misdeeds[(host, phase)] = misdeed
    with pytest.raises(NospofError):
        site.up()
    site.hosts.misdeeds.clear()
    site.up()
    assert site.up().is_empty


@pytest.mark.parametrize("misdeed", [Misdeed.LIES, Misdeed.CRASHES])
def test_answer_that_is_none_is_a_defect_and_not_a_success(site: Site, misdeed: Misdeed) -> None:
    site.hosts.misdeeds[("lb1", "stage")] = misdeed
    with pytest.raises(NospofError) as error:
        site.up()
    assert error.value.exit_code == 70


def test_host_of_another_stack_is_refused_before_anything_is_done(site: Site) -> None:
    site.hosts.hosts["web1"].stack_id = "feedfeed"
    with pytest.raises(Failed, match="belongs to another stack"):
        site.up()
    assert {phase for _, phase, _ in site.hosts.done} == {"facts"}


def test_second_controller_that_was_faster_is_noticed(site: Site) -> None:
    site.up()
    rollout = site.rollout()
    site.hosts.hosts["lb1"].files["/etc/haproxy/haproxy.cfg"] = "old"
    plan = rollout.plan()
    site.hosts.hosts["lb1"].generation += 1
    with pytest.raises(Failed, match="another generation"):
        rollout.apply(plan)


def test_firewall_lets_in_old_and_new_until_everything_has_changed(site: Site) -> None:
    site.up()
    new = site.hosts.hosts["web1"].files[RULES_PATH]
    old_rule = 'ip saddr { 198.18.1.9 } tcp dport 9999 accept comment "gone"'
    site.hosts.hosts["web1"].files[RULES_PATH] = new.replace("# end of links", f"{old_rule}\n        # end of links")
    texts: list[str] = []
    rollout = site.rollout()
    plan = rollout.plan()
    watch = rollout._activate

    def watching(tiers: Mapping[str, Sequence[str]], overrides: Mapping[str, Mapping[str, str]] | None = None) -> None:
        watch(tiers, overrides)
        texts.append(site.hosts.hosts["web1"].files[RULES_PATH])

    rollout._activate = watching  # type: ignore[method-assign,assignment]
    rollout.apply(plan)
    assert old_rule in texts[0]
    assert site.hosts.hosts["web1"].files[RULES_PATH] == new


def test_only_missing_content_travels(site: Site) -> None:
    site.up()
    assert site.release in site.hosts.hosts["web1"].blobs
    assert site.release not in site.hosts.hosts["db1"].blobs
    before = len(site.hosts.seen)
    site.hosts.hosts["web1"].files["/etc/nginx/nginx.conf"] = "old"
    rollout = site.rollout()
    plan = rollout.plan()
    assert not rollout.hosts["web1"].missing_blobs
    rollout.apply(plan)
    assert len(site.hosts.seen) > before


def test_no_secret_is_ever_in_argv(site: Site) -> None:
    site.up()
    secrets = [path.read_text().strip() for path in (site.state.folder / "secrets").iterdir()]
    assert secrets
    assert not [argv for argv in site.hosts.seen if any(secret.encode() in argv for secret in secrets)]


def test_leaders_come_last() -> None:
    assert host_order(("a", "b", "c"), {"a": True}, {"a"}) == ("b", "c", "a")


def test_new_host_comes_after_the_primary_that_must_let_it_in() -> None:
    """Incident: a database host that was added had its turn before the primary, which refused its replication account."""
    assert host_order(("a", "b", "c"), {"b": True}, {"b"}, {"a"}) == ("c", "b", "a")


def test_host_without_receipt_is_new_to_a_stack_that_runs(site: Site) -> None:
    site.up()
    site.hosts.hosts["db2"] = FakeHosts(["db2"]).hosts["db2"]
    site.hosts.hosts["db1"].leads.add("database/db1")
    site.hosts.hosts["db1"].files.clear()
    site.hosts.done.clear()
    site.up()
    assert [host for tier, host in site.activated() if tier == "database"] == ["db1", "db2"]


def test_first_primary_comes_before_the_replicas_that_wait_for_it() -> None:
    """Incident: with `hosts: [db2, db1]` the first `up` began with db1, a replica without a primary."""
    assert host_order(("db1", "db2", "w1"), {}, {"db2"}) == ("db2", "db1", "w1")


def test_tiers_that_call_each_other_still_get_an_order(site: Site) -> None:
    links = [link for link in site.topology.links if link.source.tier == "web"]
    back = replace(links[0], source=links[0].target.owner, target=replace(links[0].target, owner=links[0].source))
    circle = replace(site.topology, links=(*site.topology.links, back))
    assert sorted(activation_order(circle)) == sorted(activation_order(site.topology))


def test_firewall_that_shuts_us_out_is_said_and_nothing_after_it_is_begun(site: Site) -> None:
    site.hosts.misdeeds["web1", "anew"] = Misdeed.UNREACHABLE
    with pytest.raises(Uncertain, match="no new connection to web1 since the firewall changed there") as shut:
        site.up()
    assert "puts its old rules back by itself" in str(shut.value)
    assert site.activated() == []


def test_each_change_of_a_firewall_is_confirmed_over_a_new_connection(site: Site) -> None:
    site.up()
    changed = [host for host, phase, names in site.hosts.done if phase == "activate" and names[0].startswith("firewall/")]
    confirmed = [host for host, phase, _ in site.hosts.done if phase == "anew"]
    assert sorted(changed) == sorted(confirmed)
    assert set(confirmed) == set(site.hosts.hosts)


# --- who keeps something, and leaves -------------------------------------------------------------------------------------
SHARDS = """\
name: shards
domain: shards.example.com
hosts: {HOSTS}
tiers:
  cache: {component: valkey-cluster, hosts: [NAMES]}
"""


def become(site: Site, folder: Path, *names: str) -> Rollout:
    """The site is a cache of shards on these hosts from now on; returns a run that has looked."""
    hosts = ", ".join(f"c{number}: {{zone: z{number}}}" for number in range(1, 6) if f"c{number}" in names)
    (folder / "stack.yaml").write_text(SHARDS.replace("HOSTS", hosts).replace("NAMES", ", ".join(names)))
    site.topology, site.choices = topology_of(folder / "stack.yaml")
    rollout = site.rollout()
    rollout.plan()
    return rollout


@pytest.fixture
def shards(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.hosts = FakeHosts([f"c{number}" for number in range(1, 6)])
    become(site, tmp_path, "c1", "c2", "c3")
    site.up()
    return site


def test_host_in_the_place_of_another_that_keeps_something_is_refused(shards: Site, tmp_path: Path) -> None:
    rollout = become(shards, tmp_path, "c1", "c2", "c4")
    with pytest.raises(Failed, match="tier cache loses c3 and gains c4 at once: nothing was changed") as caught:
        rollout.refuse_exchange({"c3"})
    assert caught.value.fix == (
        "in two steps, nospof up after each: c4 in while c3 stays, then c3 out; or c3 out first, where enough are left"
    )


def test_who_only_joins_or_only_leaves_is_not_refused(shards: Site, tmp_path: Path) -> None:
    become(shards, tmp_path, "c1", "c2", "c3", "c4").refuse_exchange(())
    shards.up()
    become(shards, tmp_path, "c1", "c2", "c3").refuse_exchange({"c4"})


def test_one_that_is_dead_has_nothing_to_give_and_may_be_replaced(shards: Site, tmp_path: Path) -> None:
    shards.hosts.misdeeds["c3", "facts"] = Misdeed.UNREACHABLE
    become(shards, tmp_path, "c1", "c2", "c4").refuse_exchange({"c3"})


def test_one_that_is_another_stacks_by_now_has_nothing_to_give(shards: Site, tmp_path: Path) -> None:
    shards.hosts.hosts["c3"].stack_id = "another"
    become(shards, tmp_path, "c1", "c2", "c4").refuse_exchange({"c3"})


def test_where_nothing_moves_nobody_is_asked_about_it(site: Site) -> None:
    site.up()
    rollout = site.rollout()
    rollout.plan()
    before = len(site.hosts.done)
    rollout.refuse_exchange({"web9"})
    assert len(site.hosts.done) == before


def test_what_a_down_has_left_comes_back_together(site: Site) -> None:
    """Incident: the first voter waited for the majority that it remembered, and the others for their turn after it."""
    for host in ("db1", "db2"):
        site.hosts.hosts[host].is_retired = True
    site.up()
    voters = [host for tier, host in site.activated() if tier == "etcd"]
    assert set(voters[:2]) == {"db1", "db2"}
    together = [entry for entry in site.progress.lines if "etcd" in entry[1]]
    assert {host for host, _ in together} == {"db1", "db2", "w1"}
