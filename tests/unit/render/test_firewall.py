from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.stacks import NOTHING_ALLOTTED, UGLY_HOSTS, example, resolved, tier, topology, ugly_tiers

from nospof.render.firewall import firewall, firewall_parts, input_rules, union
from nospof.resolve import resolve
from nospof.topology import ADMIN, OUTSIDE, Topology

Opening = tuple[str, str, int]
"""Who comes in (an address, or "" for everybody), over which wire, to which port (0 = it has none)."""

RULE = re.compile(
    r"(?:ip saddr \{ (?P<sources>[^}]+) \} )?(?:(?P<wire>tcp|udp) dport (?P<port>\d+)|meta l4proto 112)"
    r' accept comment "[^"]{1,120}"'
)


def openings(rules: Iterable[str]) -> set[Opening]:
    """What rules let in. Fails on a rule of any other form."""
    found: set[Opening] = set()
    for rule in rules:
        match = RULE.fullmatch(rule)
        assert match, rule
        sources = (match["sources"] or "").split(", ")
        found |= {(source, match["wire"] or "vrrp", int(match["port"] or 0)) for source in sources}
    return found


def expected(made: Topology, host: str) -> set[Opening]:
    """The same from the links alone, one by one."""
    found: set[Opening] = set()
    for link in made.links:
        if link.target.owner.host != host or link.source.host == host:
            continue
        if link.source == OUTSIDE:
            sources: tuple[str, ...] = ("",)
        elif link.source == ADMIN:
            sources = made.admin
        else:
            sources = tuple(one.address for one in made.hosts if one.name == link.source.host)
        found |= {
            (source, wire, link.target.listen.port or 0) for source in sources for wire in link.target.listen.speaks.wires
        }
    return found


def between_marks(text: str, first: str = "# links", last: str = "# end of links") -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return lines[lines.index(first) + 1 : lines.index(last)]


@pytest.fixture(scope="module")
def ugly() -> Topology:
    return resolved(UGLY_HOSTS, *ugly_tiers()).topology


def test_rules_are_the_link_matrix(ugly: Topology) -> None:
    for host in ugly.hosts:
        assert openings(input_rules(ugly, host.name)) == expected(ugly, host.name)
        assert between_marks(firewall(ugly, host.name)) == input_rules(ugly, host.name)


HOSTS = [f"h{number}" for number in range(6)]
SOME = st.lists(st.sampled_from(HOSTS), min_size=1, max_size=4, unique=True).map(" ".join)


@given(lb=SOME, web=SOME, app=SOME, db=SOME, cache=SOME, watch=SOME, spare=st.sampled_from(HOSTS))
@settings(max_examples=40, deadline=None)
def test_every_link_over_the_network_is_let_in_and_nothing_else(
    lb: str, web: str, app: str, db: str, cache: str, watch: str, spare: str
) -> None:
    tiers = (
        tier("lb", "balancer", lb, "web", spare="" if spare in lb.split() else spare),
        tier("web", "web", web, "app"),
        tier("app", "application", app, "db cache"),
        tier("db", "database", db),
        tier("cache", "cache", cache),
        tier("watch", "watcher", watch),
    )
    made = topology(" ".join(f"{host}:{'abc'[place % 3]}" for place, host in enumerate(HOSTS)), *tiers)

    for host in HOSTS:
        assert openings(input_rules(made, host)) == expected(made, host)


def test_host_that_nobody_calls_lets_nobody_in() -> None:
    made = topology("a:a idle:a", tier("web", "web", "a"))

    assert input_rules(made, "idle") == []
    assert "policy drop" in firewall(made, "idle")


def test_movers_of_an_address_hear_each_other_only() -> None:
    made = topology("a:a b:b w:a", tier("lb", "balancer", "a b", "web"), tier("web", "web", "w"))

    assert ("198.18.1.3", "vrrp", 0) in openings(input_rules(made, "a"))
    assert [rule for rule in input_rules(made, "a") if "112" in rule] == [
        'ip saddr { 198.18.1.3 } meta l4proto 112 accept comment "test-mover to test-mover vrrp"'
    ]


def test_visitors_come_from_everywhere_to_entrances_only() -> None:
    made = topology("a:a w:a", tier("lb", "balancer", "a", "web"), tier("web", "web", "w"))

    assert openings(input_rules(made, "a")) == {("", "tcp", 80), ("", "tcp", 443)}
    assert openings(input_rules(made, "w")) == {("198.18.1.2", "tcp", 8443)}


def test_gossip_comes_in_over_both_wires() -> None:
    made = topology("a:a b:b", tier("watch", "watcher", "a b"))

    assert {wire for _, wire, port in openings(input_rules(made, "a")) if port == 9094} == {"tcp", "udp"}


def test_administrators_come_from_their_networks_only() -> None:
    shell = tier("shell", "terminal", "a")

    named = topology("a:a:192.0.2.1", shell, admin=("198.51.100.0/24", "203.0.113.7/32"))
    anybody = topology("a:a:192.0.2.1", shell)

    assert openings(input_rules(named, "a")) == {("198.51.100.0/24", "tcp", 22), ("203.0.113.7/32", "tcp", 22)}
    assert openings(input_rules(anybody, "a")) == {("", "tcp", 22)}


def test_ssh_stays_open_on_real_servers_and_only_there() -> None:
    """Before, no link led there, and the first `up` on real servers would have been the last."""
    web = tier("web", "web", "a")
    server = replace(topology("a:a:192.0.2.1", web, admin=("198.51.100.0/24",)).host("a"), ssh_port=2222)
    elsewhere = replace(topology("a:a:192.0.2.1", web, admin=("198.51.100.0/24",)), hosts=(server,))

    assert ("", "tcp", 22) in openings(input_rules(topology("a:a:192.0.2.1", web), "a"))
    assert ("198.51.100.0/24", "tcp", 2222) in openings(input_rules(elsewhere, "a"))
    assert 22 not in {port for _, _, port in openings(input_rules(topology("a:a", web), "a"))}


def test_comment_is_whole_however_many_tiers_call() -> None:
    """A long comment lost its closing quote, and nft refused the file."""
    callers = [
        tier(f"application-with-a-long-name-{number}", "application", "a", "cache", port=8000 + number) for number in range(6)
    ]
    rules = input_rules(topology("a:a c:a", *callers, tier("cache", "cache", "c")), "c")

    assert openings(rules) == {("198.18.1.2", "tcp", 6379)}
    assert rules[0].endswith('..."')


# --- between two configurations ----------------------------------------------------------------------------------------
def before_and_after(**others: object) -> tuple[Topology, Topology]:
    """The application moves from a to b: what the web server calls changes, and so does who may come in."""
    hosts, web, lb = "w:a a:a b:b", tier("web", "web", "w", "app"), tier("lb", "balancer", "w", "web")
    return (
        topology(hosts, lb, web, tier("app", "application", "a"), **others),
        topology(hosts, lb, web, tier("app", "application", "b"), **others),
    )


def test_union_lets_in_what_either_does_and_each_once() -> None:
    before, after = before_and_after()
    for host in ("w", "a", "b"):
        old, new = firewall(before, host), firewall(after, host)
        rules = between_marks(union(old, new))

        assert set(rules) == set(input_rules(before, host)) | set(input_rules(after, host))
        assert len(rules) == len(set(rules))
    assert union("", firewall(after, "b")) == firewall(after, "b")
    assert union(firewall(after, "b"), firewall(after, "b")) == firewall(after, "b")


def test_union_of_a_union_is_not_longer() -> None:
    before, after = before_and_after()
    for host in ("w", "a", "b"):
        old, new = firewall(before, host), firewall(after, host)

        assert union(union(old, new), new) == union(old, new)


def test_union_lets_out_what_either_does() -> None:
    """The way out was that of the new configuration at once, while the old one still served."""
    before, after = before_and_after(egress=("192.0.2.0/24",))
    old, new = firewall(before, "w"), firewall(after, "w")

    both = between_marks(union(old, new), "# links out", "# end of links out")

    assert "ip daddr 198.18.1.3 tcp dport 8000 accept" in both
    assert "ip daddr 198.18.1.4 tcp dport 8000 accept" in both


def test_union_leaves_the_way_out_open_when_it_was() -> None:
    before, _ = before_and_after()
    _, after = before_and_after(egress=())
    old, new = firewall(before, "w"), firewall(after, "w")

    assert "hook output" not in union(old, new)
    assert "hook output" not in union(new, old)
    assert union(old, new).count("{") == union(old, new).count("}")


# --- the way out -----------------------------------------------------------------------------------------------------
def test_way_out_is_open_unless_egress_closes_it() -> None:
    made, _ = before_and_after()

    assert "hook output" not in firewall(made, "w")


def test_closed_way_out_leads_to_called_hosts_and_named_networks_only() -> None:
    made, _ = before_and_after(egress=("192.0.2.0/24", "10.0.0.0/8"))

    assert between_marks(firewall(made, "w"), "# links out", "# end of links out") == [
        "ip daddr 198.18.1.3 tcp dport 8000 accept",
        "ip daddr { 10.0.0.0/8, 192.0.2.0/24 } accept",
    ]


def test_wholly_closed_way_out_still_leads_to_called_hosts() -> None:
    made, _ = before_and_after(egress=())

    assert between_marks(firewall(made, "w"), "# links out", "# end of links out") == [
        "ip daddr 198.18.1.3 tcp dport 8000 accept"
    ]
    assert between_marks(firewall(made, "a"), "# links out", "# end of links out") == []


def test_what_one_host_may_send_the_other_lets_in(ugly: Topology) -> None:
    closed = resolved(UGLY_HOSTS, *ugly_tiers(), egress=()).topology
    pattern = re.compile(r"ip daddr (\S+) (?:(tcp|udp) dport (\d+)|meta l4proto 112) accept")
    for host in closed.hosts:
        for rule in between_marks(firewall(closed, host.name), "# links out", "# end of links out"):
            match = pattern.fullmatch(rule)
            assert match, rule
            target = next(one.name for one in closed.hosts if one.address == match[1])
            assert (host.address, match[2] or "vrrp", int(match[3] or 0)) in openings(input_rules(closed, target))


# --- the file --------------------------------------------------------------------------------------------------------
def test_rules_are_readable_by_root_only_and_replace_no_other_table() -> None:
    (file,) = firewall_parts(before_and_after()[0], "w").files

    assert file.mode == 0o600
    assert "flush" not in file.text
    assert file.text.count("table inet nospof") == 3


def test_same_topology_gives_the_same_bytes(ugly: Topology) -> None:
    again = resolved(UGLY_HOSTS, *ugly_tiers()).topology

    assert [firewall(ugly, host.name) for host in ugly.hosts] == [firewall(again, host.name) for host in again.hosts]


@pytest.mark.skipif(not shutil.which("nft") or os.geteuid() != 0, reason="nft checks as root only")
def test_nft_accepts_every_file(tmp_path: Path) -> None:
    before, after = before_and_after(egress=("10.0.0.0/8", "10.1.0.0/16"))
    made = resolve(example(), NOTHING_ALLOTTED).topology
    files = [firewall(made, host.name) for host in made.hosts]
    files += [firewall(before, "w"), union(firewall(before, "w"), firewall(after, "w")), union("", firewall(after, "w"))]
    for number, text in enumerate(files):
        (tmp_path / f"{number}.nft").write_text(text)

    checks = [["nft", "-c", "-f", str(tmp_path / f"{number}.nft")] for number in range(len(files))]
    answers = [subprocess.run(check, capture_output=True, text=True, timeout=20) for check in checks]

    assert [answer.stderr for answer in answers] == [""] * len(files)
