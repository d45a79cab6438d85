"""What HAProxy is told: which requests are for whom, what may be repeated, what happens when nobody passes a check."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from nospof.component import OUTSIDE, Component, Context, Facts, OnChange, Parts, Rank, Settings, Tier, VipNeed
from nospof.components.haproxy import Haproxy, HaproxySettings, max_connections
from nospof.resolve import Allotment, resolve
from nospof.stack.model import Stack, StackHost
from nospof.topology import (
    Endpoint,
    Host,
    Instance,
    InstanceId,
    Link,
    Listen,
    Protocol,
    Site,
    Tls,
    Topology,
    Vip,
)

FACTS = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, 2048, 2)
SHOP = Site("app", "")
BALANCER = "load-balancer"


def topology(
    *sites: Site,
    webs: str = "web1 web2",
    spare: str = "",
    balancers: str = "lb1 lb2",
    tls: Tls = Tls.MUTUAL,
    is_measured: bool = False,
    **settings: object,
) -> Topology:
    """Load balancers before web servers that serve `sites` (SHOP if none is given)."""
    names = sorted(f"{webs} {spare} {balancers}".split())
    hosts = tuple(Host(name, "a", f"198.18.1.{number}", number) for number, name in enumerate(names, 2))
    listen = Listen("http", Protocol.HTTP, 8443, tls=tls, sites=sites or (SHOP,))
    ranks = {**dict.fromkeys(webs.split(), Rank.NORMAL), **dict.fromkeys(spare.split(), Rank.SPARE)}
    endpoints = [Endpoint(InstanceId("web", host), rank, listen) for host, rank in sorted(ranks.items())]
    instances = [Instance(endpoint.owner, "web", Settings(), endpoint.rank) for endpoint in endpoints]
    links = []
    for host in balancers.split():
        me = Instance(InstanceId(BALANCER, host), "haproxy", HaproxySettings.model_validate(settings), to=("web",))
        instances.append(me)
        links += [Link(me.id, endpoint, "to", True, False) for endpoint in endpoints]
        for listening in Haproxy(me).listens:
            caller = InstanceId("monitoring", "mon1") if is_measured and listening.name == "metrics" else OUTSIDE
            if listening.called_by or caller != OUTSIDE:
                links.append(Link(caller, Endpoint(me.id, me.rank, listening), "visit", True, False))
    vips = (Vip(BALANCER, "198.18.0.1", 1, BALANCER, tuple(sorted(balancers.split()))),)
    found = tuple(sorted({link.target for link in links}, key=str))
    return Topology("shop", "shop.example.com", hosts, tuple(instances), found, tuple(links), vips)


def parts(graph: Topology, host: str = "lb1", facts: Facts = FACTS) -> Parts:
    me = graph.instance(InstanceId(BALANCER, host))
    return Haproxy(me).parts(Context(graph, me, facts, {}, {}))


def file(graph: Topology, path: str) -> str:
    return next(file.text for file in parts(graph).files if file.path == path)


def config(*sites: Site, **settings: object) -> str:
    return file(topology(*sites, **settings), "/etc/haproxy/haproxy.cfg")  # type: ignore[arg-type]


def sections(text: str) -> dict[str, list[str]]:
    """The lines of each section, without blanks and comments."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if re.match(r"[a-z]", line):
            name = line
            found[name] = []
        elif line.strip() and not line.strip().startswith("#"):
            found[name].append(line.strip())
    return found


def servers(section: list[str]) -> dict[str, str]:
    return {line.split()[1]: line for line in section if line.startswith("server ")}


# --- whom it calls -------------------------------------------------------------------------------------------------------
def test_server_must_prove_to_be_its_host_and_sees_who_we_are() -> None:
    found = sections(config())

    assert (
        "default-server ssl verify required ca-file /etc/nospof/tls/ca.pem crt /etc/nospof/tls/load-balancer.crt"
        in (found["defaults"])
    )
    assert servers(found["backend app"])["web1"] == (
        "server web1 198.18.1.4:8443 check sni str(web1) check-sni web1 verifyhost web1 tcp-ut 200ms"
    )


def test_server_without_tls_is_called_without() -> None:
    found = sections(config(tls=Tls.NONE))

    assert all(
        " no-ssl " in line for name in ("app", "app.once", "app.any") for line in servers(found[f"backend {name}"]).values()
    )


def test_spare_is_a_backup_everywhere() -> None:
    found = sections(config(spare="x1"))

    for name in ("backend app", "backend app.once", "backend app.any"):
        spare = {host for host, line in servers(found[name]).items() if " backup " in line}
        assert spare == {"x1"}


def test_tcp_user_timeout_is_on_every_server_line() -> None:
    """HAProxy 3.0.11 accepts tcp-ut in default-server and ignores it: a request to a dark host then hung for 15 s."""
    text = config(spare="x1")

    assert all("tcp-ut" in line for line in text.splitlines() if line.startswith("    server "))
    assert not any("tcp-ut" in line for line in text.splitlines() if "default-server" in line)


# --- what may be repeated ------------------------------------------------------------------------------------------------
def test_only_get_and_head_are_repeated_after_they_were_sent() -> None:
    found = sections(config())

    assert "use_backend %[var(txn.site)] if METH_GET" in found["frontend visitors"]
    assert not any(line.startswith("retry-on") for line in found["backend app.once"])
    assert "http-request disable-l7-retry unless METH_GET" in found["backend app.any"]


def test_what_is_done_once_goes_over_a_new_connection_and_knows_who_is_down() -> None:
    once = sections(config())["backend app.once"]

    assert "option http-server-close" in once
    assert all(f" track app/{host} " in line for host, line in servers(once).items())


def test_sessions_are_not_ended_the_moment_a_server_is_marked_down() -> None:
    """With on-marked-down shutdown-sessions one GET in each run failed that was on its way to another server."""
    assert "on-marked-down" not in config()


def test_host_that_came_back_keeps_its_sessions() -> None:
    """The task slept, the host came back, and all of its requests were ended: 9 answers of 500."""
    script = file(topology(), "/etc/haproxy/nospof-dark-hosts.lua")
    slept, ended = script.index("core.msleep(650)"), script.index("answers:shut_sess()")

    assert "if not (is_down(accepts) and is_down(answers)) then return end" in script[slept:ended]


@pytest.mark.parametrize(("webs", "spare", "retries"), [("web1 web2", "", 3), ("web1", "x1", 8), ("web1", "", 8)])
def test_single_server_is_asked_until_its_spare_takes_over(webs: str, spare: str, retries: int) -> None:
    assert f"retries {retries}" in sections(config(webs=webs, spare=spare))["backend app"]


def test_all_servers_are_asked_when_none_passes_its_check() -> None:
    found = sections(config())

    frontend = found["frontend visitors"]
    last_resort = frontend.index("use_backend %[var(txn.site)].any if { var(txn.site),nbsrv eq 0 }")
    assert last_resort < frontend.index("use_backend %[var(txn.site)] if METH_GET")
    assert "option tcp-check" in found["backend app.any"]
    assert not any(line.startswith("option httpchk") for line in found["backend app.any"])


# --- which site ----------------------------------------------------------------------------------------------------------
def site_rules(*sites: Site) -> list[str]:
    lines = sections(config(*sites))["frontend visitors"]
    return [line.removeprefix("http-request set-var(txn.site) ") for line in lines if "set-var(txn.site)" in line]


def test_longer_path_and_own_name_win_over_the_stacks_domain() -> None:
    blog = Site("blog", "", "/blog/", health="/blog/health")
    other = Site("other", "other.example.org")

    assert site_rules(other, blog, SHOP) == [
        "str(app)",
        "str(blog) if { path,concat(/) -m beg /blog/ }",
        "str(other) if { req.hdr(host),host_only -i -m str other.example.org }",
    ]


def test_path_without_slash_means_the_same() -> None:
    assert site_rules(Site("blog", "", "/blog")) == ["str(blog) if { path,concat(/) -m beg /blog/ }"]


def test_sites_are_checked_apart() -> None:
    found = sections(config(SHOP, Site("blog", "blog.example.com", "/b/", health="/b/healthy")))

    assert (
        "http-check send meth GET uri /health ver HTTP/1.1 hdr Host shop.example.com hdr User-Agent nospof-health"
        in (found["backend app"])
    )
    assert (
        "http-check send meth GET uri /b/healthy ver HTTP/1.1 hdr Host blog.example.com hdr User-Agent nospof-health"
        in (found["backend blog"])
    )


def test_two_sites_of_one_tier_have_two_names() -> None:
    found = sections(config(Site("web", ""), Site("web", "", "/docs/")))

    assert {"backend web-1", "backend web-2"} <= set(found)


# --- https ---------------------------------------------------------------------------------------------------------------
def test_http_leads_to_https() -> None:
    found = sections(config())

    assert "http-request redirect prefix https://%[req.hdr(host),host_only] code 308" in found["frontend to-https"]
    assert "bind *:443 ssl crt /etc/nospof/tls/load-balancer.crt alpn h2,http/1.1" in found["frontend visitors"]
    assert [listen.port for listen in Haproxy(topology().instances[2]).listens] == [443, 80, 8405]


def test_browsers_remember_https_but_not_for_lab_names() -> None:
    assert 'Strict-Transport-Security "max-age=63072000" unless { var(txn.is_lab) -m bool }' in config()
    assert 'Strict-Transport-Security "max-age=63072000; includeSubDomains"' in config(hsts_subdomains="on")


def test_https_off_serves_on_80_and_has_no_tls_files() -> None:
    graph = topology(https="off", tls=Tls.NONE)
    found = sections(file(graph, "/etc/haproxy/haproxy.cfg"))

    assert "bind *:80" in found["frontend visitors"]
    assert "frontend to-https" not in found
    assert not any(
        "ssl" in line for section in found.values() for line in section if "no-ssl" not in line and "-ssl" not in line
    )
    assert "Strict-Transport-Security" not in str(found)
    assert not any(file.path.startswith("/etc/nospof/tls") for file in parts(graph).files)


def test_https_off_still_has_certificates_for_servers_that_ask() -> None:
    paths = {file.path for file in parts(topology(https="off")).files}

    assert "/etc/nospof/tls/load-balancer.key" in paths


def test_what_visitors_say_of_themselves_is_replaced() -> None:
    lines = sections(config())["frontend visitors"]

    assert "http-request set-header X-Forwarded-For %[src]" in lines
    assert "http-request del-header X-Request-ID" in lines
    assert "http-request set-header X-Load-Balancer lb1" in lines


# --- the host ------------------------------------------------------------------------------------------------------------
def test_wants_an_address_as_long_as_it_answers() -> None:
    want = Haproxy(topology().instances[2]).wants[0].need

    assert isinstance(want, VipNeed)
    assert (want.name, want.alive_file) == (BALANCER, "/run/nospof/load-balancer.alive")
    assert want.alive_check[0] == "/usr/bin/curl"
    drop_in = parts(topology()).units[0].drop_in or ""
    assert "ExecStartPost=/bin/sh -c 'echo 0 > /run/nospof/load-balancer.alive'" in drop_in
    assert "ExecStopPost=/bin/sh -c 'echo -1 > /run/nospof/load-balancer.alive'" in drop_in
    assert "RestartSec=100ms" in drop_in


def test_alive_check_has_room_when_visitors_fill_everything() -> None:
    found = sections(config())
    total = next(int(line.split()[1]) for line in found["global"] if line.startswith("maxconn"))
    visitors = sum(
        int(line.split()[1])
        for name in ("frontend visitors", "frontend to-https")
        for line in found[name]
        if line.startswith("maxconn")
    )

    assert total - visitors >= 100


@pytest.mark.parametrize(
    ("open_files", "memory_mib", "expected"),
    [(20000, 4096, 9500), (524288, 1024, 8192), (1024, 4096, 200), (1_000_000, 500_000, 100_000)],
)
def test_connections_fit_open_files_and_memory(open_files: int, memory_mib: int, expected: int) -> None:
    assert max_connections(replace(FACTS, max_open_files=open_files, memory_mib=memory_mib)) == expected


def test_metrics_are_open_only_when_somebody_reads_them() -> None:
    assert "frontend metrics" not in sections(config())
    assert "bind 198.18.1.2:8405" in sections(config(is_measured=True))["frontend metrics"]


def test_config_is_checked_and_reloaded() -> None:
    found = parts(topology())
    main = next(file for file in found.files if file.path == "/etc/haproxy/haproxy.cfg")

    assert main.check == ("haproxy", "-c", "-f", "/etc/haproxy/haproxy.cfg")
    assert found.units[0].on_change is OnChange.RELOAD


def test_changed_port_is_not_taken_from_the_old_process() -> None:
    """HAProxy kept calling the old port after a reload, because the state file said so."""
    script = next(file for file in parts(topology()).files if file.path.endswith("keep-states"))

    assert 'line[$4 " " $5 ":" $19]' in script.text
    assert f"ExecReload=-{script.path}" in (parts(topology()).units[0].drop_in or "")


def test_same_topology_gives_same_bytes_and_no_secret() -> None:
    def text() -> str:
        return repr(parts(topology(SHOP, Site("blog", "", "/blog/"), spare="x1")))

    assert text() == text()
    keys = [file for file in parts(topology()).files if file.path.endswith(".key")]
    assert [file.text for file in keys] == ["\x02key:load-balancer/lb1\x03"]
    assert keys[0].mode == 0o400


def test_both_balancers_differ_only_in_their_names() -> None:
    graph = topology()
    one, two = (
        [file.text for file in parts(graph, host).files if file.path.startswith("/etc/haproxy")] for host in ("lb1", "lb2")
    )

    assert [text.replace("lb1", "lb2") for text in one] == two


@pytest.mark.parametrize(
    "settings", [{"balance": "fastest"}, {"mode": "active"}, {"sticky": "on"}, {"connect_ms": 1}, {"vip": "x"}]
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        HaproxySettings.model_validate(settings)


def test_active_active_wants_an_address_for_each_host_and_two_hosts() -> None:
    graph = topology(mode="active-active")
    me = graph.of_tier(BALANCER)[0]
    assert Haproxy(me).wants[0].need.has_vip_per_host
    assert not Haproxy(topology().of_tier(BALANCER)[0]).wants[0].need.has_vip_per_host

    alone = Tier(BALANCER, "haproxy", ("lb1",), me.settings, ("web",))
    assert [one.code for one in Haproxy.objections(alone)] == ["S012"]
    assert Haproxy.objections(replace(alone, hosts=("lb1", "lb2"))) == ()
    assert Haproxy.objections(replace(alone, settings=HaproxySettings.model_validate({}))) == ()


# --- stickiness ----------------------------------------------------------------------------------------------------------
def test_cookie_is_the_same_for_all_requests_of_a_site_and_needs_no_table() -> None:
    found = sections(config(SHOP, Site("blog", "", "/blog/"), sticky="cookie"))
    for name in ("app", "app.once", "app.any"):
        assert "cookie nospof-app insert indirect nocache httponly secure attr SameSite=Lax" in found[f"backend {name}"]
        servers = [line for line in found[f"backend {name}"] if line.startswith("server ")]
        assert [re.findall(r" cookie (\S+)", line) for line in servers] == [["web1"], ["web2"]]
    assert any(line.startswith("cookie nospof-blog ") for line in found["backend blog"])
    assert not any(name.startswith("peers") for name in found)
    assert " secure " not in " ".join(sections(config(sticky="cookie", https="off"))["backend app"])


def test_who_is_known_by_his_address_is_known_to_all_load_balancers() -> None:
    told = HaproxySettings.model_validate({"sticky": "source", "sticky_s": 60})
    stack = Stack("shop", "shop.example.com", tuple(StackHost(name, "a") for name in ("lb1", "lb2", "web1")), (
        Tier(BALANCER, "haproxy", ("lb1", "lb2"), told, ("web",)),
        Tier("web", "nginx", ("web1",), Component.kinds["nginx"].settings_type(), ("app",)),
        Tier("app", "static", ("web1",), Component.kinds["static"].settings_type.model_validate({"source": "app"})),
    ), Path("stack.yaml"))  # fmt: skip
    graph = resolve(stack, Allotment()).topology
    found = sections(file(graph, "/etc/haproxy/haproxy.cfg"))

    assert "stick-table type ip size 200k expire 60s srvkey name peers balancers" in found["backend app"]
    for name in ("app", "app.once", "app.any"):
        assert "stick on src table app" in found[f"backend {name}"]
    peers = found["peers balancers"]
    assert [line.split()[1:3] for line in peers if line.startswith("peer ")] == [
        [host, f"{graph.host(host).address}:8404"] for host in ("lb1", "lb2")
    ]
    assert all("verify required" in line for line in peers if line.startswith("default-"))
    assert "localpeer lb1" in found["global"]
    (link,) = (link for link in graph.links if link.source == InstanceId(BALANCER, "lb1") and link.purpose == "peers")
    assert (link.target.owner.host, link.target.listen.tls, link.crosses) == ("lb2", Tls.MUTUAL, True)
    # Who was given to which server is no data that is lost with the last of them.
    assert not graph.keeps_data(BALANCER)


def test_first_server_of_an_address_is_the_same_on_every_load_balancer() -> None:
    """Also while the one has not heard yet of whom the other has seen."""
    for name in ("app", "app.once"):
        assert "hash-type consistent" in sections(config(sticky="source", balance="leastconn"))[f"backend {name}"]


def test_load_balancer_alone_tells_nobody_whom_it_knows() -> None:
    text = config(sticky="source", balancers="lb1")
    assert "stick-table" in text
    assert "peers" not in text


@pytest.mark.parametrize(("balance", "line"), [("leastconn", "balance leastconn"), ("source", "hash-type consistent")])
def test_balance(balance: str, line: str) -> None:
    assert line in sections(config(balance=balance))["backend app"]
