"""Valkey's and Redis' tiers: what their hosts get, and what follows for the stack."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest
from tests.unit.stacks import NOTHING_ALLOTTED, stack

from nospof import component as c
from nospof.analysis.backup import backup_findings
from nospof.analysis.redundancy import redundancy_findings
from nospof.analysis.structure import Goal, Kind, Part, structure
from nospof.apply.plan import activation_order
from nospof.components.cache_common import TIMERS, rules_of
from nospof.render.firewall import input_rules
from nospof.render.host import Manifest, render
from nospof.resolve import Resolved, component_of, resolve
from nospof.stack.model import Stack, Tier
from nospof.topology import InstanceId

FACTS = c.Facts("3.13", "13.1", "x86_64", "host0", 16, 524288, 4096, 4)
HOSTS = "lb1:a lb2:b app1:a app2:b c1:a c2:b c3:c"


def tier(name: str, component: str, hosts: str, to: str = "", **settings: Any) -> Tier:
    values = c.Component.kinds[component].settings_type.model_validate(settings)
    return Tier(name, component, tuple(hosts.split()), values, tuple(to.split()))


def shop(servers: str = "c1 c2", product: str = "valkey", app: dict[str, Any] | None = None, **more: Any) -> Stack:
    return stack(
        HOSTS,
        tier("load-balancer", "haproxy", "lb1 lb2", "web", mode="active-passive"),
        tier("web", "nginx", "app1 app2", "app"),
        tier("app", "gunicorn", "app1 app2", "sessions", source="./app", module="app:app", **(app or {})),
        tier("sessions", product, servers, **more),
    )


@cache
def made(servers: str = "c1 c2", product: str = "valkey", is_needed: bool = False, **more: object) -> Resolved:
    return resolve(shop(servers, product, {"needs_cache": is_needed}, **more), NOTHING_ALLOTTED)


def manifest(host: str, resolved: Resolved) -> Manifest:
    choices = {"sessions/first-primary": "c1"}
    return render(resolved.topology, host, FACTS, choices, {"base/onhost": "0123456789abcdef" * 4, "app/release": "1" * 64})


def parts(tier_name: str, host: str, resolved: Resolved | None = None) -> c.Parts:
    return dict(manifest(host, resolved or made()).parts)[InstanceId(tier_name, host)]


def text(suffix: str, of: c.Parts) -> str:
    return next(file.text for file in of.files if file.path.endswith(suffix))


def told(document: str) -> dict[str, Any]:
    """What a JSON file says; tokens in it have control characters."""
    found: dict[str, Any] = json.loads(document, strict=False)
    return found


both = pytest.mark.parametrize("product", ["valkey", "redis"])


# --- who is there ---------------------------------------------------------------------------------------------------------
@both
def test_three_sentinels_of_the_same_product_watch_from_three_zones(product: str) -> None:
    resolved = made(product=product)

    assert resolved.problems == ()
    assert [one.id.host for one in resolved.topology.of_tier(f"{product}-sentinel")] == ["c1", "c2", "c3"]


def test_sentinels_call_the_servers_and_are_called_by_their_agents() -> None:
    links = {(link.source.tier, link.purpose, link.target.owner.tier) for link in made().topology.links}

    assert ("valkey-sentinel", "watched", "sessions") in links
    assert ("sessions", "watchers", "valkey-sentinel") in links
    assert ("valkey-sentinel", "peers", "valkey-sentinel") in links


def test_sentinels_are_there_before_what_they_watch() -> None:
    order = activation_order(made().topology)

    assert order.index("valkey-sentinel") < order.index("sessions") < order.index("database-router") < order.index("app")


def test_single_server_needs_nobody() -> None:
    resolved = made("c1", mode="single")

    assert resolved.problems == ()
    assert not resolved.topology.of_tier("valkey-sentinel")
    assert told(text("agent.json", parts("sessions", "c1", resolved)))["watchers"] == {}


@pytest.mark.parametrize(
    ("servers", "more", "key"),
    [
        ("c1", {}, "hosts"),
        ("c1 c2", {"mode": "single"}, "mode"),
        ("c1 c2", {"write_needs_copies": 2}, "write_needs_copies"),
    ],
)
def test_what_cannot_work_is_refused(servers: str, more: dict[str, object], key: str) -> None:
    problems = made(servers, **more).problems

    assert [(problem.code, problem.path.rsplit(".", 1)[-1]) for problem in problems] == [("S012", key)]


# --- what a host gets -----------------------------------------------------------------------------------------------------
def test_no_file_says_who_is_primary() -> None:
    configs = {text("server.conf", parts("sessions", host)).replace(f"198.18.1.{number}", "") for host, number in ADDRESSES}

    assert len(configs) == 1
    assert "replicaof 1" not in configs.pop()


ADDRESSES = (("c1", 6), ("c2", 7))


def test_every_server_begins_with_refusing_writes() -> None:
    assert "\nmin-replicas-to-write 1000\n" in text("server.conf", parts("sessions", "c1"))


@pytest.mark.parametrize(("servers", "more", "needs"), [("c1 c2", {}, 0), ("c1 c2 c3", {}, 1), ("c1 c2 c3", {"n": 0}, 0)])
def test_writes_need_a_copy_where_one_loss_leaves_one(servers: str, more: dict[str, int], needs: int) -> None:
    settings = {"write_needs_copies": more["n"]} if more else {}

    assert told(text("agent.json", parts("sessions", "c1", made(servers, **settings))))["needs"] == needs


@both
def test_passwords_are_nobodys_to_read_but_the_daemons(product: str) -> None:
    for host in ("c1", "c3"):
        for _, found in manifest(host, made(product=product)).parts:
            for file in found.files:
                if re.search("\x02(secret|accepted):", file.text):
                    assert file.mode & 0o077 == 0, file.path


def test_each_application_has_a_user_of_its_own_that_cannot_change_the_server() -> None:
    lines = text("users.acl", parts("sessions", "c1")).splitlines()
    users = {line.split()[1]: line for line in lines}

    assert users.keys() == {"default", "nospof_agent", "nospof_replication", "nospof_sentinel", "app"}
    assert users["default"] == "user default off"
    assert "-@admin" in users["app"]
    assert all("-@all" in users[name] for name in users if name.startswith("nospof"))


def test_server_restarts_for_other_rules_and_not_for_other_passwords() -> None:
    found = parts("sessions", "c1")
    notify = {file.path.rpartition("/")[2]: file.for_units for file in found.files}

    assert notify["users.acl"] == notify["replication.conf"] == notify["passwords.json"] == ()
    assert "\x02" not in text("agent.json", found)
    assert "\x02" not in text("server.conf", found)
    rules = text("users.acl", found)
    assert rules_of(rules) in text("server.conf", found)
    assert rules_of(rules.replace("+ping", "+ping +echo")) not in text("server.conf", found)


def test_only_those_with_a_link_come_in() -> None:
    rules = "\n".join(input_rules(made().topology, "c1"))

    assert "sessions redis" in rules
    assert "tcp dport 26379" in rules
    assert "198.18.1.1," not in rules


def test_sentinels_file_is_begun_by_us_and_theirs_from_then_on() -> None:
    found = parts("valkey-sentinel", "c3")
    state = next(file for file in found.files if file.path == "/var/lib/valkey/nospof-sentinel.conf")

    assert (state.ownership, state.user) == (c.Ownership.SEED, "valkey")
    assert "monitor" not in state.text
    assert told(text("monitors.json", found))["tiers"][0]["first"] == "198.18.1.6"


def test_primary_that_is_cut_off_stops_before_another_may_begin() -> None:
    for timers in TIMERS.values():
        assert timers.trust_s * 1000 < timers.down_ms
        assert timers.look_every_s * 3 < timers.trust_s * 1.01


def test_config_changes_reach_the_primary_last() -> None:
    assert component_of(made().topology.instance(InstanceId("sessions", "c1"))).touch_last_if[-1].endswith("c1:8009/primary")


# --- how applications reach it --------------------------------------------------------------------------------------------
def test_application_is_told_the_local_ports_and_does_not_wait_long() -> None:
    lines = text("app.env", parts("app", "app1")).splitlines()
    told = dict(line.split("=", 1) for line in lines)

    assert told["CACHE_HOST"] == '"sessions"'
    assert (told["CACHE_PORT"], told["CACHE_READ_PORT"]) == ('"6379"', '"6380"')
    assert "@sessions:6379/0?" in told["CACHE_URL"]
    assert "socket_timeout=1" in told["CACHE_URL"]


def test_router_holds_nobody_back_for_a_cache_unless_the_tier_says_so() -> None:
    def hold_s(resolved: Resolved) -> float:
        led = told(text("database-router.json", parts("database-router", "app1", resolved)))
        found: float = led["tiers"][0]["hold_s"]
        return found

    assert hold_s(made()) == 0
    assert hold_s(made(hold_s=3.0)) == 3


# --- what follows for the goals -------------------------------------------------------------------------------------------
def process(name: str) -> Part:
    return Part(Kind.PROCESS, name)


ALL_SERVERS = (process("sessions/c1"), process("sessions/c2"))


def test_lost_cache_stops_no_page_of_an_application_that_does_without() -> None:
    assert not structure(made().topology).fails(Goal.SERVE, ALL_SERVERS)


def test_lost_cache_stops_the_pages_of_an_application_that_needs_it() -> None:
    judged = structure(made(is_needed=True).topology)

    assert judged.fails(Goal.SERVE, ALL_SERVERS)
    assert not judged.fails(Goal.SERVE, ALL_SERVERS[:1])
    assert judged.single(Goal.SERVE) == frozenset()


def test_cache_alone_gives_a_stack_no_goal_of_writing() -> None:
    assert Goal.WRITE not in structure(made(is_needed=True).topology).goals


def test_two_sentinels_and_the_primary_are_too_many() -> None:
    judged = structure(made(is_needed=True).topology)
    sentinels = tuple(process(f"valkey-sentinel/{host}") for host in ("c1", "c2"))

    assert not judged.fails(Goal.SERVE, sentinels)
    assert judged.fails(Goal.SERVE, (*sentinels, ALL_SERVERS[0]))


def test_primary_that_hears_neither_sentinels_nor_a_copy_does_not_go_on() -> None:
    """Losing the copy alone, or the Sentinels alone, stops nothing; both do: the copy may have been promoted."""
    judged = structure(made(is_needed=True).topology)
    sentinels = tuple(process(f"valkey-sentinel/{host}") for host in ("c2", "c3"))

    assert judged.fails(Goal.SERVE, (*sentinels, ALL_SERVERS[1]))


def test_three_servers_need_two_of_them() -> None:
    judged = structure(made("c1 c2 c3", is_needed=True).topology)
    servers = [process(f"sessions/c{number}") for number in (1, 2, 3)]

    assert judged.single(Goal.SERVE) == frozenset()
    assert judged.fails(Goal.SERVE, servers[:2])
    assert not structure(made("c1 c2 c3", is_needed=True, write_needs_copies=0).topology).fails(Goal.SERVE, servers[:2])


def test_two_zones_of_copies_are_enough_since_any_copy_takes_over() -> None:
    found = [problem.code for problem in redundancy_findings(shop(), made().topology, made().allotment)]

    assert "F203" not in found


def test_nobody_is_asked_to_back_a_cache_up() -> None:
    assert list(backup_findings(shop(), made().topology)) == []


def test_it_is_told_that_the_last_writes_can_be_lost() -> None:
    component = component_of(made().topology.of_tier("sessions")[0])

    assert [caution.code for caution in component.cautions(made().topology)] == ["F217"]
    assert "lost with it" in component.remarks(made().topology)[0]
