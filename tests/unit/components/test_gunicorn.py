"""What gunicorn's hosts get: units, environment and release, for callers beside it and over the network."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from nospof.component import Component, Context, Facts, File, Parts, Probe
from nospof.resolve import Allotment, component_of, resolve
from nospof.stack.model import Stack, StackHost, Tier
from nospof.topology import InstanceId, Topology

FACTS = Facts("3.13", "13.1", "x86_64", "eth0", 24, 20000, 4096, 4)
BLOBS = {"app/release": "a" * 64, "blog/release": "b" * 64, "a-tier-with-quite-a-long-name/release": "c" * 64}
SERVICE, SOCKET = "nospof-app.service", "nospof-app.socket"


def tier(name: str, component: str, hosts: list[str], to: tuple[str, ...] = (), **settings: object) -> Tier:
    return Tier(name, component, tuple(hosts), Component.kinds[component].settings_type.model_validate(settings), to)


def app(name: str = "app", hosts: tuple[str, ...] = ("web1", "web2"), to: tuple[str, ...] = (), **settings: object) -> Tier:
    return tier(name, "gunicorn", list(hosts), to, **{"source": "app", "module": "shop:app", **settings})


def web(*to: str, hosts: tuple[str, ...] = ("web1", "web2")) -> Tier:
    return tier("web", "nginx", list(hosts), to)


def topology(*tiers: Tier) -> Topology:
    hosts = tuple(
        StackHost(name, zone) for name, zone in (("db1", "a"), ("db2", "b"), ("web1", "a"), ("web2", "b"), ("x1", "c"))
    )
    return resolve(Stack("shop", "shop.example.com", hosts, tiers, Path("stack.yaml")), Allotment()).topology


def parts(graph: Topology, name: str = "app", host: str = "web1", facts: Facts = FACTS) -> Parts:
    instance = graph.instance(InstanceId(name, host))
    return component_of(instance).parts(Context(graph, instance, facts, {}, BLOBS))


def unit(of: Parts, name: str) -> str:
    return next(unit.text or "" for unit in of.units if unit.name == name)


def file(of: Parts, path: str) -> File:
    return next(file for file in of.files if file.path == path)


def environment(of: Parts, name: str = "app") -> dict[str, str]:
    lines = file(of, f"/etc/nospof/{name}.env").text.splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def command(of: Parts, name: str = SERVICE) -> str:
    return unit(of, name).replace("\\\n", "").split("ExecStart=")[1].splitlines()[0]


def health(of: Parts) -> Probe:
    return of.healthy_when[0]


# --- sockets ------------------------------------------------------------------------------------------------------------
def test_beside_its_web_server_only_a_unix_socket_is_opened() -> None:
    made = parts(topology(web("app"), app()))

    assert re.findall("ListenStream=(.*)", unit(made, SOCKET)) == ["/run/nospof/app/http.sock"]
    assert "--certfile" not in command(made)
    assert [file.path for file in made.files if "tls" in file.path] == ["/etc/nospof/tls/ca.pem"]
    assert "http://app/health" in health(made).argv


def test_called_over_the_network_it_demands_certificates() -> None:
    graph = topology(web("app"), app(hosts=("x1",)))
    made, address = parts(graph, host="x1"), graph.host("x1").address

    assert f"ListenStream={address}:8000" in unit(made, SOCKET)
    assert "--ca-certs /etc/nospof/tls/ca.pem --cert-reqs 2" in command(made)
    assert file(made, "/etc/nospof/tls/app.key").user == "nospof-app"
    # Its only sockets speak TLS then, the unix socket too.
    assert "https://app/health" in health(made).argv
    assert "--cert" in health(made).argv


def test_only_hosts_that_are_called_over_the_network_open_a_port() -> None:
    graph = topology(web("app", hosts=("web1", "x1")), app(hosts=("web1", "web2")))

    assert ":8000" in unit(parts(graph, host="web1"), SOCKET)
    graph = topology(web("app", hosts=("web1", "web2")), app(hosts=("web1", "web2")))
    assert ":8000" not in unit(parts(graph, host="web1"), SOCKET)


def test_failures_never_close_the_socket_for_good() -> None:
    made = parts(topology(web("app"), app()))

    assert "TriggerLimitIntervalSec=0" in unit(made, SOCKET)
    assert "StartLimitIntervalSec=0" in unit(made, SERVICE)


def test_only_debians_web_server_user_may_connect() -> None:
    assert {"SocketUser=www-data", "SocketMode=0660"} <= set(unit(parts(topology(web("app"), app())), SOCKET).splitlines())


# --- release ------------------------------------------------------------------------------------------------------------
def test_a_new_release_is_a_new_unit_and_so_a_restart() -> None:
    """Code is never found through `current`: an old process that imports late would load new code."""
    made = parts(topology(web("app"), app()))

    assert made.trees[0].path == "/srv/nospof/app/releases/aaaaaaaaaaaa"
    assert "WorkingDirectory=/srv/nospof/app/releases/aaaaaaaaaaaa/app" in unit(made, SERVICE)
    assert "current" not in unit(made, SERVICE)
    assert made.symlinks[0].for_units == ()


def test_no_file_restarts_the_socket() -> None:
    """Restarting the socket closes it, and visitors are refused."""
    graph = topology(web("app"), app(hosts=("x1",)))
    notified = {name for file in parts(graph, host="x1").files for name in file.for_units}

    assert notified == {SERVICE}


def test_two_applications_share_nothing() -> None:
    graph = topology(web("app", "blog"), app(), app("blog", path="/blog/", port=8001))
    one, other = parts(graph), parts(graph, "blog")
    shared = {"/etc/nospof/tls/ca.pem", "/usr/lib/nospof/gunicorn/nospof_worker.py"}

    assert {file.path for file in one.files} & {file.path for file in other.files} == shared
    assert {unit.name for unit in one.units}.isdisjoint(unit.name for unit in other.units)
    assert set(one.users).isdisjoint(other.users)


def test_user_names_are_as_short_as_debian_wants_them() -> None:
    graph = topology(web("a-tier-with-quite-a-long-name"), app("a-tier-with-quite-a-long-name"))
    (user,) = parts(graph, "a-tier-with-quite-a-long-name").users

    assert len(user) <= 31
    assert user.startswith("nospof-")


def test_workers_follow_the_processors_within_limits() -> None:
    graph = topology(web("app"), app())
    few, many = Facts("3.13", "13.1", "x86_64", "e", 24, 20000, 99, 1), Facts("3.13", "13.1", "x86_64", "e", 24, 20000, 99, 64)

    assert "--workers 2 " in command(parts(graph, facts=few))
    assert "--workers 16 " in command(parts(graph, facts=many))
    assert "--workers 3 " in command(parts(topology(web("app"), app(workers=3))))


def test_requests_in_progress_may_end_before_the_process_is_killed() -> None:
    made = unit(parts(topology(web("app"), app(timeout_s=60))), SERVICE)

    assert "--graceful-timeout 60" in made
    assert "TimeoutStopSec=65" in made


# --- environment --------------------------------------------------------------------------------------------------------
def database() -> Tier:
    return tier("database", "mariadb", ["db1", "db2"])


def test_the_database_is_reached_through_the_local_router() -> None:
    found = environment(parts(topology(web("app"), app(to=("database",)), database())))
    secret = "\x02secret:database/app\x03"

    assert found["DATABASE_URL"] == f"mysql://app:{secret}@database:3306/app?ssl_ca=/etc/nospof/tls/ca.pem"
    assert found["DATABASE_READ_URL"] == f"mysql://app:{secret}@database:3307/app?ssl_ca=/etc/nospof/tls/ca.pem"
    assert (found["DATABASE_HOST"], found["DATABASE_PORT"], found["DATABASE_READ_PORT"]) == ("database", "3306", "3307")
    assert (found["DATABASE_USER"], found["DATABASE_NAME"], found["DATABASE_PASSWORD"]) == ("app", "app", secret)


def test_the_first_database_is_the_default_and_each_has_its_own_names() -> None:
    graph = topology(
        web("my-app"), app("my-app", to=("shard-1", "shard-2")), tier("shard-1", "mariadb", ["db1"], mode="single"),
        tier("shard-2", "mariadb", ["db2"], mode="single"),
    )  # fmt: skip
    instance = graph.instance(InstanceId("my-app", "web1"))
    made = component_of(instance).parts(Context(graph, instance, FACTS, {}, {"my-app/release": "a" * 64}))
    found = environment(made, "my-app")

    assert found["DATABASE_URL"] == found["SHARD_1_URL"]
    assert "@shard-2:3306/my_app?" in found["SHARD_2_URL"]
    assert found["DATABASE_USER"] == "my_app"


def test_the_environment_is_readable_by_root_alone_and_restarts_the_service() -> None:
    made = file(parts(topology(web("app"), app(to=("database",)), database())), "/etc/nospof/app.env")

    assert (made.mode, made.user, made.for_units) == (0o600, "root", (SERVICE,))


def test_secrets_are_tokens_and_nowhere_but_in_the_environment() -> None:
    made = parts(topology(web("app"), app(to=("database",)), database()))
    others = [file.text for file in made.files if not file.path.endswith(".env")] + [unit.text or "" for unit in made.units]

    assert "\x02secret:app/secret-key\x03" in environment(made)["SECRET_KEY"]
    assert not [text for text in others if "\x02secret" in text]


def test_the_users_own_variables_win_and_are_quoted() -> None:
    made = parts(topology(web("app"), app(environment={"APP_NAME": "mine", "MOTTO": 'say "hi" for $5 \\o/'})))

    assert environment(made)["APP_NAME"] == "mine"
    assert 'MOTTO="say \\"hi\\" for \\$5 \\\\o/"\n' in file(made, "/etc/nospof/app.env").text


def test_an_application_under_a_path_knows_it_and_is_asked_for_its_health_there() -> None:
    graph = topology(web("app"), app(path="/blog/"))
    made = parts(graph)

    assert environment(made)["SCRIPT_NAME"] == "/blog"
    assert "http://app/blog/health" in health(made).argv
    (site,) = graph.endpoints_of(InstanceId("app", "web1"))[0].listen.sites
    assert (site.health, site.ready, site.static_path) == ("/blog/health", "/blog/ready", "/blog/static/")
    assert site.static_folder == "/srv/nospof/app/current/app/static"


def test_without_static_folder_the_web_server_serves_none() -> None:
    (site,) = topology(web("app"), app(static="")).endpoints_of(InstanceId("app", "web1"))[0].listen.sites

    assert (site.static_path, site.static_folder) == ("", "")


# --- settings -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "settings",
    [
        {"module": "shop:app --reload"},
        {"path": "/blog"},
        {"path": "blog/"},
        {"static": "../etc"},
        {"domain": "a.example; evil"},
        {"health": "health"},
        {"environment": {"NOT A NAME": "x"}},
        {"environment": {"TOKEN": "\x02secret:database/app\x03"}},
        {"port": 80},
    ],
)
def test_settings_that_would_say_something_else_in_a_unit_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Component.kinds["gunicorn"].settings_type.model_validate({"source": "app", "module": "shop:app", **settings})


@pytest.mark.parametrize("module", ["shop:app", "shop.wsgi:application", "shop.wsgi", "shop:create_app()"])
def test_modules_are_written_as_gunicorn_wants_them(module: str) -> None:
    assert command(parts(topology(web("app"), app(module=module)))).endswith(f" {module}")


def test_the_same_stack_gives_the_same_parts() -> None:
    made = [parts(topology(web("app"), app(to=("database",)), database())) for _ in range(2)]

    assert made[0] == made[1]
    assert hash(made[0]) == hash(made[1])


def test_the_worker_is_python() -> None:
    made = file(parts(topology(web("app"), app())), "/usr/lib/nospof/gunicorn/nospof_worker.py")

    compile(made.text, made.path, "exec")


class FakeThreadWorker:
    """Gunicorn's, as far as it is asked here: it loads an application that answers 200 to everything."""

    def load_wsgi(self) -> None:
        self.wsgi = lambda environ, start_response: start_response("200 OK", [])


def answers(monkeypatch: pytest.MonkeyPatch, beside: str, *paths: str) -> list[str]:
    """What the worker answers to `paths`, with files `beside` that its host must have."""
    made = file(parts(topology(web("app"), app())), "/usr/lib/nospof/gunicorn/nospof_worker.py")
    monkeypatch.setitem(sys.modules, "gunicorn", SimpleNamespace(version_info=(23, 0, 0)))
    monkeypatch.setitem(sys.modules, "gunicorn.workers", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "gunicorn.workers.gthread", SimpleNamespace(ThreadWorker=FakeThreadWorker))
    monkeypatch.setenv("NOSPOF_HEALTH", "/health")
    monkeypatch.setenv("NOSPOF_BESIDE", beside)
    names: dict[str, Any] = {}
    exec(made.text, names)
    worker, found = names["DrainingWorker"](), []
    worker.load_wsgi()
    for path in paths:
        worker.wsgi({"PATH_INFO": path}, lambda status, headers: found.append(status))
    return found


def test_health_tells_of_what_is_needed_on_this_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Incident: with the database router of one web host stopped, every second write failed."""
    router = tmp_path / "pid"
    router.write_text("")
    assert answers(monkeypatch, str(router), "/health", "/") == ["200 OK", "200 OK"]
    router.unlink()
    assert answers(monkeypatch, str(router), "/health", "/") == ["503 Service Unavailable", "200 OK"]
    assert answers(monkeypatch, "", "/health") == ["200 OK"]


def test_what_is_needed_on_the_host_is_the_router_to_the_database() -> None:
    made = parts(topology(web("app"), app(to=("database",)), database()))
    assert "NOSPOF_BESIDE=/run/nospof-database-router/pid\n" in unit(made, SERVICE)
