"""What keepalived is told: who holds an address first, who takes it over, when it is given up."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from pydantic import ValidationError

from nospof.component import Context, Facts, OnChange, Parts, Rank, VipNeed
from nospof.components.keepalived import Keepalived, KeepalivedSettings
from nospof.topology import Demand, Endpoint, Host, Instance, InstanceId, Link, Topology, Vip

FACTS = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, 2048, 2)
SITE = VipNeed("load-balancer", "/run/nospof/load-balancer.alive", ("/usr/bin/curl", "-f", "http://localhost/"))
MAIL = VipNeed("mail", "/run/nospof/mail.alive", ("/bin/true",))
WANTED = {"lb1": [(SITE, Rank.NORMAL)], "lb2": [(SITE, Rank.NORMAL)]}


def topology(wanted: dict[str, list[tuple[VipNeed, Rank]]] = WANTED, **settings: object) -> Topology:
    """One keepalived per host; `wanted` says for which addresses, and how much the service counts there."""
    hosts = tuple(Host(name, "a", f"198.18.1.{number}", number) for number, name in enumerate(sorted(wanted), 2))
    instances = [
        Instance(
            InstanceId("keepalived", host),
            "keepalived",
            KeepalivedSettings.model_validate(settings),
            demands=tuple(Demand(InstanceId(need.name, host), rank, need) for need, rank in needs),
        )
        for host, needs in sorted(wanted.items())
    ]
    endpoints = [Endpoint(instance.id, instance.rank, Keepalived.listens[0]) for instance in instances]
    links = [
        Link(one.id, endpoint, "peers", True, False)
        for one in instances
        for endpoint in endpoints
        if endpoint.owner != one.id and _needs(wanted, one.id.host) & _needs(wanted, endpoint.owner.host)
    ]
    vips = (_vip(SITE, "198.18.0.1", 1, wanted), _vip(MAIL, "198.18.0.2", 7, wanted))
    return Topology("shop", "shop.example.com", hosts, tuple(instances), tuple(endpoints), tuple(links), vips)


def _vip(need: VipNeed, address: str, number: int, wanted: dict[str, list[tuple[VipNeed, Rank]]]) -> Vip:
    ranks = {host: rank for host, needs in wanted.items() for wants, rank in needs if wants == need}
    order = sorted(ranks, key=lambda host: (ranks[host] is Rank.SPARE, host))
    return Vip(need.name, address, number, need.name, tuple(order))


def _needs(wanted: dict[str, list[tuple[VipNeed, Rank]]], host: str) -> set[VipNeed]:
    return {need for need, _ in wanted[host]}


def parts(graph: Topology, host: str = "lb1") -> Parts:
    me = graph.instance(InstanceId("keepalived", host))
    return Keepalived(me).parts(Context(graph, me, FACTS, {}, {"keepalived/move": "ab" * 32}))


def config(graph: Topology, host: str = "lb1") -> str:
    return next(file.text for file in parts(graph, host).files if file.path == "/etc/keepalived/keepalived.conf")


def value(text: str, key: str) -> str:
    return str(re.findall(rf"^ *{key} (.*)$", text, re.MULTILINE)[-1])


def test_hosts_of_a_pair_speak_to_each_other_only() -> None:
    text = config(topology(), "lb2")

    assert value(text, "unicast_src_ip") == "198.18.1.3"
    assert re.search(r"unicast_peer \{\s+198\.18\.1\.2 min_ttl 255 max_ttl 255\s+\}", text)
    assert value(text, "virtual_router_id") == "1"
    assert "198.18.0.1/32 dev eth0" in text


def test_who_comes_back_does_not_take_the_address_away() -> None:
    """`state MASTER` would silently defeat nopreempt."""
    for host in ("lb1", "lb2"):
        text = config(topology(), host)
        assert value(text, "state") == "BACKUP"
        assert re.search(r"^    nopreempt$", text, re.MULTILINE)


def test_host_that_is_well_again_takes_back_the_address_that_is_at_home_there() -> None:
    """Of two load balancers that both work one would go on with the work of both."""
    both = (
        Vip("load-balancer", "198.18.0.1", 1, "load-balancer", ("lb1", "lb2"), "lb1"),
        Vip("load-balancer.2", "198.18.0.2", 2, "load-balancer", ("lb2", "lb1"), "lb2"),
    )
    graph = replace(topology(home_after_s=30), vips=both)
    found = {
        (host, name): text
        for host in ("lb1", "lb2")
        for name, text in re.findall(r"^vrrp_instance (\S+) \{\n(.*?)^\}", config(graph, host), re.MULTILINE | re.DOTALL)
    }

    assert set(found) == {(host, vip.name) for host in ("lb1", "lb2") for vip in both}
    for (host, name), text in found.items():
        is_home = (host, name) in {("lb1", "load-balancer"), ("lb2", "load-balancer.2")}
        assert value(text, "state") == "BACKUP"
        assert ("nopreempt" in text) is not is_home
        assert ("preempt_delay 30\n" in text) is is_home
        assert int(value(text, "priority")) == (250 if is_home else 125)
    assert {name: value(text, "virtual_router_id") for (_, name), text in found.items()} == {
        both[0].name: "1",
        both[1].name: "2",
    }


def test_each_address_has_an_alert_of_its_own() -> None:
    both = tuple(Vip(f"site{n}", f"198.18.0.{n}", n, "load-balancer", ("lb1", "lb2")) for n in (1, 2))
    graph = replace(topology(), vips=both)
    alerts = Keepalived(graph.instances[0]).alerts(graph)

    assert [(alert.labels, f"198.18.0.{n} " in alert.says) for n, alert in enumerate(alerts, 1)] == [
        ((("tier", "load-balancer"), ("vip", f"site{n}")), True) for n in (1, 2)
    ]
    assert all(f'nospof_vip_held{{name="site{n}"}}' in alert.expression for n, alert in enumerate(alerts, 1))


def away(graph: Topology) -> dict[str, str]:
    """By VIP, what tells that it is not where it belongs."""
    alerts = Keepalived(graph.instances[0]).alerts(graph)
    return {dict(alert.labels)["vip"]: alert.expression for alert in alerts if alert.name == "VipAway"}


def test_vip_that_is_not_taken_back_is_told_of() -> None:
    """Where it is at home, or by those that are no spares; one that any host may keep is nowhere away."""
    graph = topology()
    vip = graph.vips[0]
    assert away(graph) == {}
    assert 'host=~"lb2"' in away(replace(graph, vips=(replace(vip, home="lb2"),)))[vip.name]
    spared = topology({"lb1": [(SITE, Rank.NORMAL)], "lb2": [(SITE, Rank.NORMAL)], "x1": [(SITE, Rank.SPARE)]})
    assert 'host=~"lb1|lb2"' in away(spared)[vip.name]


def test_service_is_looked_at_once_however_many_addresses_lead_to_it() -> None:
    both = tuple(Vip(f"load-balancer{n}", f"198.18.0.{n}", n, "load-balancer", ("lb1", "lb2")) for n in (1, 2))
    text = config(replace(topology(), vips=both))

    assert text.count("vrrp_script ") == text.count("track_file load-balancer_lives {") == 1
    assert text.count("vrrp_instance ") == 2


def priorities(ranks: dict[str, Rank]) -> dict[str, int]:
    graph = topology({host: [(SITE, rank)] for host, rank in ranks.items()})
    return {host: int(value(config(graph, host), "priority")) for host in ranks}


def test_first_host_has_the_highest_priority() -> None:
    found = priorities({"lb1": Rank.NORMAL, "lb2": Rank.NORMAL, "lb3": Rank.NORMAL})

    assert 255 > found["lb1"] > found["lb2"] > found["lb3"] > 0


def test_spares_come_last_and_normal_hosts_take_from_them_and_not_from_each_other() -> None:
    """Incident: with the address once moved to the backup server, it stayed there when all load balancers were back."""
    ranks = {"a1": Rank.SPARE, "a2": Rank.SPARE, "lb1": Rank.NORMAL, "lb2": Rank.NORMAL}
    found = priorities(ranks)
    graph = topology({host: [(SITE, rank)] for host, rank in ranks.items()})
    texts = {host: config(graph, host) for host in ranks}

    assert 255 > found["lb1"] == found["lb2"] > found["a1"] > found["a2"] > 0
    assert {host for host, text in texts.items() if "preempt_delay 10" in text} == {"lb1", "lb2"}
    assert {host for host, text in texts.items() if re.search(r"^    nopreempt$", text, re.MULTILINE)} == {"a1", "a2"}


def test_with_a_spare_too_each_address_goes_home_and_until_then_to_whoever_is_no_spare() -> None:
    ranks = {"a1": Rank.SPARE, "lb1": Rank.NORMAL, "lb2": Rank.NORMAL, "lb3": Rank.NORMAL}
    home = Vip("load-balancer", "198.18.0.1", 1, "load-balancer", ("lb2", "lb1", "lb3", "a1"), "lb2")
    graph = replace(topology({host: [(SITE, rank)] for host, rank in ranks.items()}), vips=(home,))
    texts = {host: config(graph, host) for host in ranks}
    found = {host: int(value(text, "priority")) for host, text in texts.items()}

    assert 255 > found["lb2"] > found["lb1"] == found["lb3"] > found["a1"] > 0
    assert {host for host, text in texts.items() if "preempt_delay 10" in text} == {"lb1", "lb2", "lb3"}


def test_spare_of_one_tier_may_come_first_in_another() -> None:
    wanted = {"x1": [(SITE, Rank.SPARE), (MAIL, Rank.NORMAL)], "x2": [(SITE, Rank.NORMAL), (MAIL, Rank.SPARE)]}
    text = config(topology(wanted), "x1")
    site, mail = (re.search(rf"vrrp_instance {name} .*?priority (\d+)", text, re.DOTALL) for name in ("load-balancer", "mail"))

    assert site is not None
    assert mail is not None
    assert int(site[1]) < int(mail[1])


def test_two_addresses_on_one_host_have_a_group_each() -> None:
    wanted = {"lb1": [(SITE, Rank.NORMAL), (MAIL, Rank.NORMAL)], "lb2": [(SITE, Rank.NORMAL)], "m1": [(MAIL, Rank.NORMAL)]}
    text = config(topology(wanted))

    groups = dict(re.findall(r"vrrp_instance (\S+) \{.*?unicast_peer \{\s+(\S+) ", text, re.DOTALL))
    assert groups == {"load-balancer": "198.18.1.3", "mail": "198.18.1.4"}
    assert "virtual_router_id 7" in text


def test_address_is_given_up_when_the_service_stops_living_or_answering() -> None:
    text = config(topology())

    assert re.search(
        r"track_file load-balancer_lives \{\s+file /run/nospof/load-balancer.alive\s+weight 0\s+init_file -1\s", text
    )
    assert 'script "/usr/bin/curl -f http://localhost/"' in text
    assert "script_user nobody nogroup" in text
    assert "enable_script_security" in text


def test_no_process_connector_which_containers_lack() -> None:
    assert "track_process" not in config(topology())


def test_host_without_a_peer_keeps_the_address_and_announces_nothing() -> None:
    """keepalived takes unicast without peers for multicast, and the whole network would hear it."""
    text = config(topology({"lb1": [(SITE, Rank.NORMAL)]}))

    assert "vrrp_instance" not in text
    assert re.search(r"static_ipaddress \{\s+198\.18\.0\.1/32 dev eth0\s+\}", text)


@pytest.mark.parametrize(("advert_ms", "advert_s"), [(100, "0.1"), (10, "0.01"), (1000, "1"), (250, "0.25")])
def test_signs_of_life(advert_ms: int, advert_s: str) -> None:
    assert value(config(topology(advert_ms=advert_ms)), "advert_int") == advert_s


@pytest.mark.parametrize("advert_ms", [5, 15, 1010])
def test_signs_of_life_that_the_protocol_cannot_tell_are_refused(advert_ms: int) -> None:
    with pytest.raises(ValidationError):
        KeepalivedSettings.model_validate({"advert_ms": advert_ms})


def test_killed_keepalived_leaves_no_address_behind() -> None:
    drop_in = parts(topology()).units[0].drop_in or ""
    removal = "ip address del 198.18.0.1/32 dev eth0"

    assert [line.split("=")[0] for line in drop_in.splitlines() if removal in line] == ["ExecStartPre", "ExecStopPost"]
    assert "RestartSec=100ms" in drop_in


def test_never_reloaded() -> None:
    """keepalived 2.3.3 sets its realtime limit to 0 on reload and is killed a second later."""
    assert parts(topology()).units[0].on_change is OnChange.RESTART


def test_holder_is_told_by_every_address_it_may_have() -> None:
    wanted = {"lb1": [(SITE, Rank.NORMAL), (MAIL, Rank.NORMAL)], "lb2": [(SITE, Rank.NORMAL)]}
    graph = topology(wanted)
    script = next(file for file in parts(graph).files if (file.path,) == Keepalived.touch_last_if)

    assert "for address in 198.18.0.1 198.18.0.2; do" in script.text
    assert script.mode == 0o755


def test_program_of_the_users_is_run_where_a_vip_was_taken_and_nothing_where_there_is_none() -> None:
    graph = topology(move="./move")
    made, text = parts(graph), config(graph)
    script = next(file for file in made.files if file.path == "/usr/lib/nospof/keepalived-move")

    command = "/usr/bin/systemctl restart --no-block nospof-move-vip@198.18.0.1.service"
    assert value(text, "notify_master") == f'"{command}" root'
    unit = next(file for file in made.files if file.path == "/etc/systemd/system/nospof-move-vip@.service")
    assert "ExecStart=/bin/sh /usr/lib/nospof/keepalived-move %i\n" in unit.text
    assert 'timeout 60 /srv/nospof/keepalived/current/app/move-vip "$1"' in script.text
    assert [(tree.path, tree.blob) for tree in made.trees] == [("/srv/nospof/keepalived/releases/abababababab", "ab" * 32)]
    assert [source.folder for source in Keepalived(graph.instances[0]).sources] == ["./move"]

    assert "notify_master" not in config(topology())
    assert (parts(topology()).trees, Keepalived(topology().instances[0]).sources) == ((), ())


def test_new_host_can_be_checked() -> None:
    """keepalived -t fails for an alive file in a folder that is not there yet."""
    check = next(file.check for file in parts(topology()).files if file.check)

    assert check[-1] == "mkdir -p /run/nospof && exec keepalived -t -f /etc/keepalived/keepalived.conf"


def test_same_topology_gives_same_bytes() -> None:
    assert repr(parts(topology())) == repr(parts(topology()))
