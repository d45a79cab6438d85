"""What Starman's hosts get: a socket that systemd holds, a way in over TLS for other hosts; and its server, run here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nospof.component import Component, Context, Facts, Parts
from nospof.components.starman.texts import SERVE
from nospof.resolve import Allotment, component_of, resolve
from nospof.stack.model import Stack, StackHost, Tier
from nospof.topology import InstanceId, Topology

FACTS = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, 4096, 4)
SERVICE, SOCKET, TLS = "nospof-app.service", "nospof-app.socket", "nospof-app-tls.service"


def tier(name: str, component: str, hosts: str, to: str = "", **settings: Any) -> Tier:
    values = Component.kinds[component].settings_type.model_validate(settings)
    return Tier(name, component, tuple(hosts.split()), values, tuple(to.split()))


def app(hosts: str = "web1 web2", to: str = "", **settings: Any) -> Tier:
    return tier("app", "starman", hosts, to, **{"source": "app", **settings})


def web(component: str = "nginx") -> Tier:
    return tier("web", component, "web1 web2", "app")


def topology(*tiers: Tier) -> Topology:
    hosts = tuple(
        StackHost(name, zone) for name, zone in (("db1", "a"), ("db2", "b"), ("web1", "a"), ("web2", "b"), ("x1", "c"))
    )
    found = resolve(Stack("shop", "shop.example.com", hosts, tiers, Path("stack.yaml")), Allotment())
    assert found.problems == ()
    return found.topology


def parts(graph: Topology, host: str = "web1", name: str = "app", facts: Facts = FACTS) -> Parts:
    instance = graph.instance(InstanceId(name, host))
    return component_of(instance).parts(Context(graph, instance, facts, {}, {"app/release": "a" * 64, "base/onhost": "b" * 64}))


def unit(of: Parts, name: str) -> str:
    return next(unit.text or "" for unit in of.units if unit.name == name)


def text(of: Parts, path: str) -> str:
    return next(file.text for file in of.files if file.path == path)


# --- sockets ------------------------------------------------------------------------------------------------------------
def test_beside_its_web_server_only_a_unix_socket_is_opened() -> None:
    of = parts(topology(web(), app()))

    assert re.findall("ListenStream=(.*)", unit(of, SOCKET)) == ["/run/nospof/app/http.sock"]
    assert [one.name for one in of.units] == [SOCKET, SERVICE]
    assert [file.path for file in of.files if "tls" in file.path] == ["/etc/nospof/tls/ca.pem"]
    assert {unit for file in of.files for unit in file.for_units} <= {SOCKET, SERVICE}


@pytest.mark.parametrize("component", ["nginx", "haproxy"])
def test_callers_on_other_hosts_need_a_certificate(component: str) -> None:
    of = parts(graph := topology(web(component), app("x1")), "x1")

    assert f"bind {graph.host('x1').address}:8200 ssl" in text(of, "/etc/nospof/app.tls.cfg")
    assert "ca-file /etc/nospof/tls/ca.pem verify required" in text(of, "/etc/nospof/app.tls.cfg")
    assert "server starman unix@/run/nospof/app/http.sock" in text(of, "/etc/nospof/app.tls.cfg")
    assert "User=www-data" in unit(of, TLS), "who may open the socket"
    assert ":8200" not in unit(of, SOCKET)
    assert "http://app/health" in of.healthy_when[0].argv, "Starman itself speaks no TLS"


def test_load_balancer_on_the_same_host_calls_the_port_as_it_calls_the_others() -> None:
    """It shares its calls among all hosts of the tier; to an endpoint without a port it cannot send them."""
    graph = topology(web("haproxy"), app())

    called = {link.target.listen.name for link in graph.links_from(InstanceId("web", "web1"), "to")}
    assert called == {"https"}
    assert "None" not in text(parts(graph, "web1", "web"), "/etc/haproxy/haproxy.cfg")


@pytest.mark.parametrize(("component", "path"), [("nginx", "/etc/nginx/nginx.conf"), ("apache", "/etc/apache2/nospof.conf")])
def test_web_server_beside_it_speaks_plainly_though_others_call_the_port(component: str, path: str) -> None:
    balancer = tier("load-balancer", "haproxy", "db1", "web")
    graph = topology(balancer, tier("web", component, "web1 x1", "app"), app("web1 web2"))

    assert unit(parts(graph, "web1"), TLS)
    beside, far = text(parts(graph, "web1", "web"), path), text(parts(graph, "x1", "web"), path)
    assert "http://app" in beside
    assert "https://app" not in beside
    assert f"{graph.host('web2').address}:8200" in far


# --- release ------------------------------------------------------------------------------------------------------------
def test_the_unit_alone_says_which_release_runs() -> None:
    service = unit(parts(topology(web(), app(application="bin/shop.psgi"))), SERVICE)

    release = "/srv/nospof/app/releases/aaaaaaaaaaaa/app"
    assert f"WorkingDirectory={release}" in service
    assert f" {release}/bin/shop.psgi " in service
    assert f"Environment=PERL5LIB={release}/lib:{release}/local/lib/perl5" in service
    assert "current" not in service


def test_migration_finds_the_releases_modules() -> None:
    step = parts(topology(web(), app(migrate="perl migrate.pl", migrated="perl migrate.pl --check"))).steps[0]

    release = "/srv/nospof/app/releases/aaaaaaaaaaaa/app"
    assert f"--setenv=PERL5LIB={release}/lib:{release}/local/lib/perl5" in step.argv


def test_requests_that_are_worked_on_may_end() -> None:
    service = unit(parts(topology(web(), app(timeout_s=20))), SERVICE)

    assert {"KillSignal=SIGQUIT", "KillMode=mixed", "TimeoutStopSec=25"} <= set(service.splitlines())
    assert service.split("ExecStart=")[1].split("ExecReload")[0].split()[-1] == "20"


@pytest.mark.parametrize(
    ("memory_mib", "cpus", "processes"), [(4096, 4, 32), (24_000, 1, 8), (512, 4, 4), (64, 1, 1), (1 << 20, 256, 128)]
)
def test_processes_suit_the_host(memory_mib: int, cpus: int, processes: int) -> None:
    facts = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, memory_mib, cpus)
    service = unit(parts(topology(web(), app()), facts=facts), SERVICE)

    assert service.split("ExecStart=")[1].split("ExecReload")[0].split()[-2] == str(processes)


def test_it_learns_how_the_database_is_reached_as_others_do() -> None:
    database = tier("database", "mariadb", "db1 db2", witness="x1")
    of = parts(topology(web(), app(to="database"), database))

    assert 'DATABASE_READ_PORT="3307"' in text(of, "/etc/nospof/app.env")
    assert "NOSPOF_BESIDE=/run/nospof-database-router/pid" in unit(of, SERVICE)
    assert "NOSPOF_NAMES=database" in unit(of, SERVICE)


@pytest.mark.parametrize("application", ["/etc/x.psgi", "../x.psgi", "a b.psgi", ".hidden", "a//b"])
def test_application_is_a_file_of_the_release(application: str) -> None:
    with pytest.raises(ValidationError):
        app(application=application)


# --- its server ---------------------------------------------------------------------------------------------------------
# Stand-ins for what Debian packages: the server calls the application once, with the environment from standard input.
STARMAN = """package Starman::Server;
use JSON::PP;
sub new { bless {}, shift }
sub run {
    my ($self, undef, $options) = @_;
    my $env = decode_json(join '', <STDIN>);
    my $answer = $options->{psgi_app_builder}->()->($env);
    print encode_json({ status => $answer->[0], body => join('', @{$answer->[2]}), env => $env });
}
1;
"""
UTIL = "package Plack::Util; sub load_psgi { my $app = do $_[0]; die $@ if $@; $app } 1;"
APPLICATION = "sub { [200, [], ['answered']] };"


@pytest.fixture
def server(tmp_path: Path) -> Path:
    for name, said in {"Starman/Server.pm": STARMAN, "Plack/Util.pm": UTIL, "app.psgi": APPLICATION, "serve.pl": SERVE}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(said)
    return tmp_path


def asked(server: Path, path: str, names: str = "localhost", mount: str = "/shop", **headers: str) -> dict[str, Any]:
    environment = {
        **os.environ,
        "PERL5LIB": str(server),
        "NOSPOF_HEALTH": "/health",
        "NOSPOF_MOUNT": mount,
        "NOSPOF_BESIDE": str(server / "router"),
        "NOSPOF_NAMES": names,
    }
    env = {"PATH_INFO": path, "SCRIPT_NAME": "", "HTTP_HOST": "shop.example.com:8443", "psgi.url_scheme": "http", **headers}
    argv = ["perl", str(server / "serve.pl"), "app", str(server / "app.psgi"), "/run/x.sock", "4", "30"]
    done = subprocess.run(argv, input=json.dumps(env), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


needs_perl = pytest.mark.skipif(shutil.which("perl") is None, reason="Perl is not installed")


@needs_perl
def test_health_is_bad_while_what_this_host_needs_is_away(server: Path) -> None:
    bad = asked(server, "/shop/health")
    assert (bad["status"], "router is not there" in bad["body"]) == (503, True)
    assert asked(server, "/shop/x")["status"] == 200, "pages are not the health's matter"

    (server / "router").touch()
    assert asked(server, "/shop/health")["body"] == "answered"
    assert "the name database.invalid is not found" in asked(server, "/shop/health", names="localhost:database.invalid")["body"]


@needs_perl
def test_application_learns_where_it_is_mounted(server: Path) -> None:
    def places(path: str, mount: str) -> tuple[str, str]:
        env = asked(server, path, mount=mount)["env"]
        return env["SCRIPT_NAME"], env["PATH_INFO"]

    assert places("/shop/x", "/shop") == ("/shop", "/x")
    assert places("/shop", "/shop") == ("/shop", "")
    assert places("/shopping", "/shop") == ("", "/shopping")
    assert places("/a.b/x", "/a.b") == ("/a.b", "/x")
    assert places("/x", "") == ("", "/x")


@needs_perl
def test_application_is_told_of_the_visitor_as_if_nobody_stood_between(server: Path) -> None:
    told = {"HTTP_X_FORWARDED_FOR": "198.51.100.66, 203.0.113.9", "HTTP_X_FORWARDED_PROTO": "https", "HTTP_PROXY": "http://x/"}
    env = asked(server, "/x", **told)["env"]

    assert (env["REMOTE_ADDR"], env["psgi.url_scheme"], env["HTTPS"]) == ("203.0.113.9", "https", "ON")
    assert (env["SERVER_NAME"], env["SERVER_PORT"]) == ("shop.example.com", "8443")
    assert "HTTP_PROXY" not in env
    plain = asked(server, "/x", HTTP_X_FORWARDED_PROTO="gopher", HTTP_HOST="shop.example.com")["env"]
    assert (plain["psgi.url_scheme"], plain["SERVER_PORT"], plain["REMOTE_ADDR"]) == ("http", "80", "127.0.0.1")
