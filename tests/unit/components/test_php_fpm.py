"""What PHP-FPM's hosts get: a release under a fixed path, a socket that systemd holds, an honest health."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from nospof.component import Component, Context, Facts, Parts
from nospof.components.php_fpm import PhpFpm
from nospof.resolve import Allotment, Resolved, component_of, resolve
from nospof.stack.model import Stack, StackHost, Tier
from nospof.topology import InstanceId, Topology

FACTS = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, 4096, 4)
BLOBS = {"app/release": "a" * 64, "base/onhost": "0" * 64}
SERVICE, SOCKET = "nospof-app.service", "nospof-app.socket"


def tier(name: str, component: str, hosts: list[str], to: tuple[str, ...] = (), **settings: object) -> Tier:
    return Tier(name, component, tuple(hosts), Component.kinds[component].settings_type.model_validate(settings), to)


def app(hosts: tuple[str, ...] = ("web1", "web2"), to: tuple[str, ...] = (), **settings: object) -> Tier:
    return tier("app", "php-fpm", list(hosts), to, **{"source": "app", **settings})


def web(hosts: tuple[str, ...] = ("web1", "web2"), component: str = "apache") -> Tier:
    return tier("web", component, list(hosts), ("app",))


def resolved(*tiers: Tier) -> Resolved:
    hosts = tuple(
        StackHost(name, zone) for name, zone in (("db1", "a"), ("db2", "b"), ("web1", "a"), ("web2", "b"), ("x1", "c"))
    )
    return resolve(Stack("shop", "shop.example.com", hosts, tiers, Path("stack.yaml")), Allotment())


def parts(graph: Topology, host: str = "web1", facts: Facts = FACTS) -> Parts:
    instance = graph.instance(InstanceId("app", host))
    return component_of(instance).parts(Context(graph, instance, facts, {}, BLOBS))


def made(**settings: object) -> Parts:
    return parts(resolved(web(), app(**settings)).topology)  # type: ignore[arg-type]


def unit(of: Parts, name: str) -> str:
    return next(unit.text or "" for unit in of.units if unit.name == name)


def text(of: Parts, path: str) -> str:
    return next(file.text for file in of.files if file.path == path)


def ini(of: Parts) -> dict[str, str]:
    lines = text(of, "/etc/nospof/app.php.ini").splitlines()
    return {name: value.strip('"') for name, _, value in (line.partition(" = ") for line in lines)}


DATABASE = tier("database", "mariadb", ["db1", "db2"], witness="x1")


# --- who may call it ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("component", ["apache", "nginx"])
def test_it_is_called_over_a_socket_on_its_own_host_and_no_port_is_opened(component: str) -> None:
    graph = resolved(web(component=component), app()).topology

    assert [(link.source.host, link.target.owner.host) for link in graph.links] == [("web1", "web1"), ("web2", "web2")]
    assert re.findall("ListenStream=(.*)", unit(parts(graph), SOCKET)) == ["/run/nospof/app/http.sock"]


def test_a_web_server_elsewhere_cannot_call_it_and_that_is_said() -> None:
    (problem,) = resolved(web(hosts=("web1", "web2", "x1")), app()).problems

    assert (problem.code, problem.path) == ("S306", "tiers.app.hosts")
    assert problem.fix == "in tier app hosts: [web1, web2, x1]"


def test_a_load_balancer_cannot_call_it_at_all() -> None:
    """HAProxy speaks HTTP only: that is no matter of hosts."""
    (problem,) = resolved(tier("load-balancer", "haproxy", ["x1"], ("app",)), app()).problems

    assert problem.code == "S303"


# --- the release --------------------------------------------------------------------------------------------------------
def test_the_unit_alone_says_which_release_runs() -> None:
    """Neither `current`, which changes under running processes, nor a path that opcache knows from the release before."""
    of = made(public="public")
    told = [unit(of, SERVICE), text(of, "/etc/nospof/app.php.ini"), text(of, "/etc/nospof/app.fpm.conf")]

    assert "BindReadOnlyPaths=/srv/nospof/app/releases/aaaaaaaaaaaa/app:/srv/nospof/app/running" in told[0]
    assert all("current" not in one for one in told)


def test_web_server_and_processes_mean_the_same_folder() -> None:
    (site,) = component_of(resolved(web(), app(public="web/root")).topology.of_tier("app")[0]).listens[0].sites

    assert site.folder == "/srv/nospof/app/current/app/web/root"
    assert site.code_folder == "/srv/nospof/app/running/web/root"


def test_connections_wait_while_it_restarts() -> None:
    of = made()

    assert "Environment=FPM_SOCKETS=/run/nospof/app/http.sock=3" in unit(of, SERVICE)
    assert "listen = /run/nospof/app/http.sock" in text(of, "/etc/nospof/app.fpm.conf")
    assert "User=nospof-app" in unit(of, SERVICE), "as root it would remove the socket's name at its end"
    assert [one.name for one in of.units] == [SOCKET, SERVICE]


def test_requests_that_are_worked_on_may_end() -> None:
    of = made(timeout_s=20)

    assert "KillSignal=SIGQUIT" in unit(of, SERVICE)
    assert "TimeoutStopSec=25" in unit(of, SERVICE)
    assert "process_control_timeout = 20s" in text(of, "/etc/nospof/app.fpm.conf")


# --- health -------------------------------------------------------------------------------------------------------------
def test_health_is_asked_of_the_script_that_answers_for_it() -> None:
    assert made(public="public", path="/blog/").healthy_when[0].argv[-3:] == (
        "/run/nospof/app/http.sock",
        "/srv/nospof/app/running/public/index.php",
        "/blog/health",
    )
    assert made(health="/up.php", front="").healthy_when[0].argv[-2:] == ("/srv/nospof/app/running/up.php", "/up.php")


def test_health_is_honest_where_something_on_this_host_is_needed() -> None:
    with_database = parts(resolved(web(), app(to=("database",)), DATABASE).topology)

    assert "NOSPOF_BESIDE=/run/nospof-database-router/pid" in unit(with_database, SERVICE)
    assert ini(with_database)["auto_prepend_file"] == "/usr/lib/nospof/php/health.php"
    assert "http_response_code(503)" in text(with_database, "/usr/lib/nospof/php/health.php")
    assert "auto_prepend_file" not in ini(made())


# --- what it is told ----------------------------------------------------------------------------------------------------
def test_it_learns_how_the_database_is_reached_as_python_applications_do() -> None:
    told = text(parts(resolved(web(), app(to=("database",)), DATABASE).topology), "/etc/nospof/app.env")

    assert 'DATABASE_HOST="127.0.1.1"' in told or 'DATABASE_HOST="database"' in told
    assert 'DATABASE_READ_PORT="3307"' in told
    assert 'SECRET_KEY="\x02secret:app/secret-key\x03"' in told


def test_what_the_user_sets_of_php_wins() -> None:
    of = made(php={"memory_limit": "256M", "session.save_handler": "redis"})

    lines = text(of, "/etc/nospof/app.php.ini").splitlines()
    assert lines.index('memory_limit = "256M"') > lines.index("memory_limit = 128M")


def test_a_database_that_went_dark_does_not_hold_a_process_for_a_day() -> None:
    assert int(ini(made())["mysqlnd.net_read_timeout"]) < 30


@pytest.mark.parametrize(
    "settings",
    [
        {"php": {"auto_prepend_file": "x.php"}},
        {"php": {"cgi.fix_pathinfo": "1"}},
        {"php": {"memory_limit": '1" \n x'}},
        {"public": "../x"},
        {"public": "/x"},
        {"front": "index.html"},
        {"module": "a:b"},
    ],
)
def test_settings_that_would_break_it_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        app(**settings)  # type: ignore[arg-type]


# --- processes ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("memory_mib", "cpus", "processes"), [(4096, 4, 32), (24_000, 1, 16), (512, 4, 4), (64, 1, 1), (1 << 20, 256, 128)]
)
def test_processes_suit_the_host(memory_mib: int, cpus: int, processes: int) -> None:
    facts = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, memory_mib, cpus)
    of = parts(resolved(web(), app()).topology, facts=facts)

    assert f"pm.max_children = {processes}\n" in text(of, "/etc/nospof/app.fpm.conf")


def test_readers_of_the_design_are_warned_of_sessions_in_files() -> None:
    graph = resolved(web(), app()).topology
    alone = resolved(web(hosts=("web1",)), app(hosts=("web1",))).topology

    assert "sessions are files on one host" in component_of(graph.of_tier("app")[0]).remarks(graph)[0]
    assert component_of(alone.of_tier("app")[0]).remarks(alone) == ()


# --- files that scripts write -------------------------------------------------------------------------------------------
def test_folder_that_scripts_write_to_lies_beside_the_releases() -> None:
    of = made(public="public", writes=["public/uploads", "cache"])

    assert "StateDirectory=nospof-files/app/public/uploads\n" in unit(of, SERVICE)
    assert "BindPaths=/var/lib/nospof-files/app/cache:/srv/nospof/app/running/cache\n" in unit(of, SERVICE)
    assert "UMask=0022" in unit(of, SERVICE), "the web server reads what is written"
    assert "UMask=0077" in unit(made(), SERVICE)
    assert "BindPaths" not in unit(made(), SERVICE)


def test_visitors_reach_of_these_folders_what_is_public() -> None:
    graph = resolved(web(), app(public="public", path="/shop/", writes=["public/uploads", "cache"])).topology
    (site,) = component_of(graph.of_tier("app")[0]).listens[0].sites

    assert site.written == (("/shop/uploads/", "/var/lib/nospof-files/app/public/uploads"),)


@pytest.mark.parametrize("folder", ["public", "web", "web/public"])
def test_folder_of_the_scripts_themselves_cannot_be_written(folder: str) -> None:
    (problem,) = PhpFpm.objections(app(public="web/public" if folder != "public" else "public", writes=[folder]))

    assert (problem.code, problem.key) == ("S016", "writes")


@pytest.mark.parametrize("folder", ["", "/uploads", "../uploads", "uploads/", "a b"])
def test_only_a_folder_of_the_source_can_be_written(folder: str) -> None:
    with pytest.raises(ValidationError):
        app(writes=[folder])


def test_files_on_one_of_several_hosts_are_a_gap() -> None:
    both = resolved(web(), app(writes=["uploads"])).topology
    alone = resolved(web(hosts=("web1",)), app(hosts=("web1",), writes=["uploads"])).topology

    (gap,) = component_of(both.of_tier("app")[0]).cautions(both)
    assert (gap.code, gap.key) == ("F218", "writes")
    assert component_of(alone.of_tier("app")[0]).cautions(alone) == ()


@pytest.mark.parametrize("component", ["apache", "nginx"])
def test_web_server_sends_what_was_written_and_runs_none_of_it(component: str) -> None:
    balancer = tier("load-balancer", "haproxy", ["x1"], ("web",))
    graph = resolved(balancer, web(component=component), app(writes=["uploads"])).topology
    web_server = graph.instance(InstanceId("web", "web1"))
    caller = Context(graph, web_server, FACTS, {}, BLOBS)
    told = "".join(file.text for file in component_of(web_server).parts(caller).files)

    place = told[told.index("/var/lib/nospof-files/app/uploads") :]
    assert place.index("\\.ph") < place.index("SetHandler" if component == "apache" else "fastcgi_pass")
