from __future__ import annotations

import random
from dataclasses import replace

from tests.unit.stacks import NOTHING_ALLOTTED, UGLY_HOSTS, example, resolved, stack, tier, topology, ugly_tiers

from nospof.explain.diagram import diagram
from nospof.explain.weak import WeakSpots
from nospof.resolve import resolve


def test_weak_hosts_and_zones_are_marked_and_the_mark_explained() -> None:
    drawn = topology("lb1:a web1:a web2:b", tier("lb", "balancer", "lb1", "web"), tier("web", "web", "web1 web2"))
    text = diagram(drawn, WeakSpots(hosts={"lb1": ("serve",)}, zones={"b": ("serve",)}))

    assert "│ ▲ lb1 " in text
    assert "─ ▲ zone b ─" in text
    assert "▲ web1" not in text
    assert text.splitlines()[-1].startswith("▲ single point of failure")
    assert "▲" not in diagram(drawn)


def test_example_is_drawn_from_visitors_to_database() -> None:
    text = diagram(resolve(example(), NOTHING_ALLOTTED).topology)

    order = [text.index(word) for word in ("visitors", "◆ load-balancer", " lb1 ", " web1 ", " db1 ")]
    assert order == sorted(order)
    assert max(map(len, text.splitlines())) <= 100


def test_zones_are_columns_and_alike_hosts_beside_each_other() -> None:
    lines = diagram(resolve(example(), NOTHING_ALLOTTED).topology).splitlines()

    zones = next(line for line in lines if "zone a" in line)
    databases = next(line for line in lines if " db1 " in line)
    for zone, host in (("a", "db1"), ("b", "db2"), ("c", "w1")):
        assert abs(zones.index(f"zone {zone}") - databases.index(host)) <= 2


def test_address_that_moves_tells_who_may_hold_it_and_who_last() -> None:
    text = diagram(
        topology("lb1:a lb2:b x1:c w:a", tier("lb", "balancer", "lb1 lb2", "web", spare="x1"), tier("web", "web", "w"))
    )

    assert "◆ lb 198.18.0.1, held by lb1 or lb2, as last resort by x1" in text


def test_calls_tell_protocol_port_and_encryption() -> None:
    text = diagram(resolved(UGLY_HOSTS, *ugly_tiers()).topology)

    assert "balancer   HTTPS 443 · HTTP 80" in text
    assert "│ balancer → web     HTTPS 8443 mutual TLS" in text
    assert "↓ web → shop     unix socket" in text
    assert "↓ shop → cache   Redis 6379 unencrypted" in text
    assert "│ shop → test-router → database   MySQL 3306 mutual TLS · health 8008 TLS" in text
    assert "↔ database   replication MySQL 3306 mutual TLS" in text
    assert "↔ test-mover   VRRP" in text


def test_only_callers_of_a_database_are_drawn_to_it() -> None:
    text = diagram(resolved(UGLY_HOSTS, *ugly_tiers()).topology)

    assert "│ blog → test-router → archive " in text
    assert "shop → test-router → archive" not in text
    assert "blog → test-router → database" not in text


def test_measuring_is_one_line() -> None:
    text = diagram(resolved(UGLY_HOSTS, *ugly_tiers()).topology)

    assert "• monitoring → metrics   of balancer, front, monitoring, test-meter, web" in text


def test_spare_and_witness_are_marked() -> None:
    witness = tier("database", "database", "db1 db2", witness="w1")
    text = diagram(topology("db1:a db2:b w1:c x1:a", replace(witness, spare=("x1",))))

    assert "├─ witness ─" in text
    assert "├─ spare ─" in text


def test_rank_stands_beside_the_component_where_a_host_has_several() -> None:
    text = diagram(topology("a1:a b1:b c1:c", tier("web", "web", "a1 b1"), tier("other", "cache", "b1 c1", spare="a1")))

    assert "test-cache, spare │" in text


def test_what_comes_along_stands_below_what_was_asked_for() -> None:
    lines = diagram(resolve(example(), NOTHING_ALLOTTED).topology).splitlines()

    place = next(number for number, line in enumerate(lines) if "  + keepalived" in line)
    assert "load-balancer       haproxy" in lines[place - 1]


def test_host_without_instances_is_said_to_be_idle() -> None:
    assert "nothing runs here" in diagram(topology("a1:a idle:a", tier("web", "web", "a1")))


def test_one_host_fits_without_columns() -> None:
    text = diagram(topology("h1:a", tier("web", "web", "h1", "app"), tier("app", "application", "h1")))

    assert "1 host in zone a · lab" in text
    assert "─ zone a" not in text
    assert "▼" not in text


def test_four_zones_still_fit_beside_each_other() -> None:
    lines = diagram(topology("w1:a w2:b w3:c w4:d", tier("web", "web", "w1 w2 w3 w4"))).splitlines()

    assert any(all(f"zone {zone} " in line for zone in "abcd") for line in lines)
    assert max(map(len, lines)) <= 100


def test_many_zones_are_named_in_the_boxes() -> None:
    text = diagram(topology("w1:a w2:b w3:c w4:d w5:e", tier("web", "web", "w1 w2 w3 w4 w5")))

    assert all(f"│ zone {zone} " in text for zone in "abcde")
    assert max(map(len, text.splitlines())) <= 100


def test_alike_hosts_of_a_zone_share_a_box() -> None:
    names = [f"w{number}" for number in range(30)]
    text = diagram(
        topology(" ".join(f"{name}:{'abc'[i % 3]}" for i, name in enumerate(names)), tier("web", "web", " ".join(names)))
    )

    assert all(f"│ {name} " in text for name in names)
    assert text.count("┌") == 3
    assert max(map(len, text.splitlines())) <= 100


def test_long_names_are_cut_and_the_frame_stays_whole() -> None:
    long = "webserver-of-the-shop-number-one-in-the-cellar"
    lines = diagram(topology(f"{long}:a b:b", tier("web", "web", f"{long} b"))).splitlines()

    assert any("webserver-of-the-shop-numb…" in line for line in lines)
    assert max(map(len, lines)) <= 100


def test_firewall_that_is_off_is_said() -> None:
    assert "no firewall" in diagram(topology("a1:a", tier("web", "web", "a1"), has_firewall=False))
    assert "no firewall" not in diagram(topology("a1:a", tier("web", "web", "a1")))


def test_same_stack_gives_the_same_text_in_whatever_order_it_was_written() -> None:
    whole = stack(UGLY_HOSTS, *ugly_tiers())
    first = resolve(whole, NOTHING_ALLOTTED)
    hosts, tiers = list(whole.hosts), list(whole.tiers)
    random.Random(7).shuffle(hosts)
    random.Random(7).shuffle(tiers)

    again = resolve(replace(whole, hosts=tuple(hosts), tiers=tuple(tiers)), first.allotment)

    assert diagram(again.topology) == diagram(first.topology)
