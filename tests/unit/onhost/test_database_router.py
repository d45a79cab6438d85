"""The router program: whom it hears, what it tells HAProxy, what outlives it."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tls_files import TlsFiles, tls_files

from nospof.onhost import database_router as router
from nospof.onhost.database_router import Config, Ear, Inbox, Leader, Memory, Pulse, Server, Tier
from nospof.onhost.database_routing import Document, Give, Group
from nospof.onhost.threads import run_beside

TIER = Tier(
    "database",
    10.0,
    (Server("db1", "127.0.0.1", 3306, 8008), Server("db2", "127.0.0.2", 3306, 8008)),
    Group("database-primary", {"database-3306": 2000}),
    Group("database-replica", {"database-3307": 2000}),
)
PRIMARY = Document(1, 3, 50, "primary", True, False, False)
REPLICA = Document(1, 3, 50, "replica", False, True, False)


def until(holds: Callable[[], object]) -> None:
    end_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


class Haproxy(threading.Thread):
    """HAProxy's admin socket: remembers states and limits, refuses what it does not know."""

    def __init__(self, place: Path) -> None:
        super().__init__(daemon=True)
        self.servers: dict[str, str] = {}
        self.limits: dict[str, int] = {}
        self.told: list[str] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(place))
        self.listener.listen()
        self.forget()
        self.start()

    def forget(self) -> None:
        """A new process: everybody is let in."""
        self.servers = {f"database-{group}/{host}": "ready" for group in ("primary", "replica") for host in ("db1", "db2")}
        self.limits = {"database-3306": 2000, "database-3307": 2000}

    def run(self) -> None:
        while True:
            caller, _ = self.listener.accept()
            with caller:
                lines = caller.makefile().readline().strip().split(";")
                caller.sendall("".join(self.answer(line) + "\n" for line in lines).encode())

    def answer(self, line: str) -> str:
        words = line.split()
        if words[:2] == ["show", "servers"]:
            admin = {"ready": 0, "drain": 8, "maint": 1}
            rows = (
                f"3 {key.replace('/', ' 1 ')} 127.0.0.1 2 {admin[state]}" + " 0" * 18 for key, state in self.servers.items()
            )
            return "1\n# be_id\n" + "\n".join(rows) + "\n"
        if words[:2] == ["show", "stat"]:
            return "# pxname\n" + "".join(f"{name},FRONTEND,,,0,0,{most},0,\n" for name, most in self.limits.items())
        self.told.append(line)
        if words[:2] == ["set", "server"] and words[2] in self.servers:
            self.servers[words[2]] = words[4] if words[3] == "state" else self.servers[words[2]]
            return ""
        if words[:3] == ["set", "maxconn", "frontend"]:
            self.limits[words[3]] = int(words[4])
            return ""
        return "" if words[0] == "shutdown" else "No such server."


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    # A socket's path has 107 characters at most, and pytest's folders are long.
    monkeypatch.chdir(tmp_path)
    return Config("ca.pem", "admin.sock", "pid", "memory.json", (TIER,))


@pytest.fixture
def haproxy(config: Config) -> Haproxy:
    return Haproxy(Path(config.admin_socket))


def heard(first: Document = PRIMARY, second: Document = REPLICA) -> Inbox:
    inbox = Inbox()
    inbox.put("database", "db1", first)
    inbox.put("database", "db2", second)
    return inbox


def leader(config: Config, inbox: Inbox) -> Leader:
    return Leader(config, inbox, Pulse(config, inbox))


# --- leading --------------------------------------------------------------------------------------------------------------
def test_haproxy_is_led_and_what_it_was_told_is_remembered(config: Config, haproxy: Haproxy) -> None:
    leads = leader(config, heard())
    until(lambda: (leads.step(), haproxy.servers["database-primary/db2"] == "maint")[1])
    assert haproxy.servers == {
        "database-primary/db1": "ready",
        "database-primary/db2": "maint",
        "database-replica/db1": "maint",
        "database-replica/db2": "ready",
    }
    ready = frozenset({("database-primary", "db1"), ("database-replica", "db2")})
    assert router.read_memory(config) == Memory({"database": 3}, ready)


def test_a_new_process_of_haproxy_is_told_all_again(config: Config, haproxy: Haproxy) -> None:
    inbox = heard()
    pulse = Pulse(config, inbox)
    threading.Thread(target=pulse.watch, daemon=True).start()
    leads = Leader(config, inbox, pulse)
    until(lambda: (leads.step(), haproxy.servers["database-primary/db2"] == "maint")[1])
    pulse.begun_s = leads._looked_s - 60
    begun_s = pulse.begun_s
    haproxy.forget()
    Path(config.pid_file).write_text("2")
    until(lambda: pulse.begun_s != begun_s)
    leads.step()
    assert haproxy.servers["database-primary/db2"] == "maint"


def test_before_everybody_was_heard_nothing_is_changed(config: Config, haproxy: Haproxy) -> None:
    inbox = Inbox()
    inbox.put("database", "db2", REPLICA)
    leader(config, inbox).step()
    assert haproxy.told == []
    assert router.read_memory(config) == Memory({"database": 0})


def test_an_old_primary_is_not_believed_after_a_restart(config: Config, haproxy: Haproxy) -> None:
    router.write_memory(config, Memory({"database": 4}))
    leader(config, heard()).step()
    assert haproxy.limits == {"database-3306": 0, "database-3307": 2000}


def test_what_haproxy_refuses_is_tried_again(config: Config, haproxy: Haproxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    del haproxy.servers["database-replica/db2"]
    leads = leader(config, heard())
    assert leads.step() <= router.PAUSES_S[1]
    assert "does not obey: Refused: No such server." in caplog.text
    haproxy.forget()
    leads.step()
    assert "obeys again" in caplog.text


def test_haproxy_that_is_not_there_is_waited_for(config: Config) -> None:
    leads = leader(config, heard())
    leads.step()
    haproxy = Haproxy(Path(config.admin_socket))
    until(lambda: (leads.step(), haproxy.servers["database-primary/db2"] == "maint")[1])


# --- letting go, and starting ---------------------------------------------------------------------------------------------
def test_letting_go_ends_the_pause_and_leaves_haproxy_to_its_checks(config: Config, haproxy: Haproxy) -> None:
    router.write_memory(config, Memory({"database": 4}, frozenset({("database-primary", "db1")})))
    haproxy.limits["database-3306"] = 0
    haproxy.servers["database-primary/db2"] = "maint"
    router.let_go(config)
    assert haproxy.limits == {"database-3306": 2000, "database-3307": 2000}
    assert set(haproxy.servers.values()) == {"ready"}
    assert haproxy.told.index("set server database-primary/db2 health down") < haproxy.told.index(
        "set maxconn frontend database-3306 2000"
    )
    assert router.read_memory(config) == Memory({"database": 4}), "the term is not forgotten"


def test_letting_go_needs_no_haproxy(config: Config) -> None:
    router.let_go(config)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(config.admin_socket)
    dead.close()
    router.let_go(config)


def states(config: Config, memory: Memory) -> dict[tuple[str, str], tuple[str, str]]:
    lines = [line.split() for line in router.starting_state(config, memory).splitlines()]
    assert lines.pop(0) == ["1"]
    assert {len(fields) for fields in lines} == {25}
    return {(fields[1], fields[3]): (fields[5], fields[6]) for fields in lines}


def test_haproxy_starts_without_servers_until_a_check_says_yes(config: Config) -> None:
    assert set(states(config, Memory({})).values()) == {("0", "0")}


def test_haproxy_is_reloaded_as_it_was_led(config: Config) -> None:
    found = states(config, Memory({}, frozenset({("database-primary", "db1"), ("database-replica", "db2")})))
    assert found == {
        ("database-primary", "db1"): ("2", "0"),
        ("database-primary", "db2"): ("0", "1"),
        ("database-replica", "db1"): ("0", "1"),
        ("database-replica", "db2"): ("2", "0"),
    }


def test_a_reload_has_the_addresses_of_the_new_configuration(config: Config) -> None:
    moved = replace(TIER, servers=(Server("db1", "203.0.113.9", 3307, 8009), TIER.servers[1]))
    line = router.starting_state(replace(config, tiers=(moved,)), Memory({})).splitlines()[1].split()
    assert (line[4], line[18], line[21]) == ("203.0.113.9", "3307", "8009")


@pytest.mark.parametrize("torn", ["", "{", "[]", "3", '{"terms": 1, "ready": null}', '{"terms": {}, "ready": [1]}'])
def test_a_torn_memory_is_none(config: Config, torn: str) -> None:
    Path(config.memory_file).write_text(torn)
    assert router.read_memory(config) == Memory({})


# --- whom it hears --------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return tls_files(tmp_path_factory.mktemp("tls"), "db1")


class Host(threading.Thread):
    """A database host that answers every request with `said`."""

    def __init__(self, tls: TlsFiles, said: bytes) -> None:
        super().__init__(daemon=True)
        self.said, self.asked = said, 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(tls.certificate, tls.key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.start()

    def run(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
                with self.context.wrap_socket(plain, server_side=True) as caller:
                    while self.listener.fileno() >= 0 and caller.recv(4096):
                        self.asked += 1
                        caller.sendall(self.said)
            except OSError:
                self.asked += 1
                if self.listener.fileno() < 0:
                    return


def response(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


DOCUMENT = {
    "version": 1,
    "host": "db1",
    "tier": "database",
    "term": 3,
    "revision": 50,
    "role": "primary",
    "takes_writes": True,
    "fit_for_reads": False,
    "is_moving": False,
}
GOOD = response(json.dumps(DOCUMENT).encode())


@pytest.fixture
def listen(tls: TlsFiles) -> Iterator[Callable[..., tuple[Host, Inbox]]]:
    made: list[Host] = []

    def begin(said: bytes, name: str = "db1", ca: str = tls.ca) -> tuple[Host, Inbox]:
        host, inbox = Host(tls, said), Inbox()
        made.append(host)
        server = Server(name, "127.0.0.1", 3306, host.listener.getsockname()[1])
        run_beside(Ear("database", server, router.client_context(ca), inbox).listen)
        return host, inbox

    yield begin
    for host in made:
        host.listener.close()


def test_a_host_is_heard(listen: Callable[..., tuple[Host, Inbox]]) -> None:
    host, inbox = listen(GOOD)
    until(lambda: inbox.of(TIER))
    assert inbox.of(TIER)["db1"].document == PRIMARY
    until(lambda: host.asked > 1)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        response(b"", "503 Service Unavailable"),
        response(b"not json"),
        response(b"[" * 10_000),
        response(json.dumps({**DOCUMENT, "term": "9"}).encode()),
        response(json.dumps({**DOCUMENT, "host": "db2"}).encode()),
        response(b"{}", length=-1),
        response(b"{}", length=1 << 40),
        GOOD + b"and more",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\n\r\n{}",
    ],
    ids=range(12),
)
def test_who_says_nonsense_is_not_heard(listen: Callable[..., tuple[Host, Inbox]], said: bytes) -> None:
    host, inbox = listen(said or b"\r\n\r\n")
    until(lambda: host.asked >= 2)
    assert inbox.of(TIER) == {}


def test_a_host_with_anothers_certificate_or_authority_is_not_heard(
    listen: Callable[..., tuple[Host, Inbox]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for arguments in ({"name": "db2"}, {"ca": tls_files(tmp_path, "db1").ca}):
        host, inbox = listen(GOOD, **arguments)
        until(lambda host=host: host.asked >= 2)  # type: ignore[misc]
        assert inbox.of(TIER) == {}
    assert caplog.text.count("CERTIFICATE_VERIFY_FAILED") == 2


def test_who_waits_is_woken_by_news_only() -> None:
    inbox = heard()
    inbox.wait(0)
    inbox.put("database", "db1", PRIMARY)
    woken = threading.Thread(target=inbox.wait, args=(5.0,), daemon=True)
    woken.start()
    inbox.put("database", "db1", PRIMARY)
    woken.join(0.1)
    assert woken.is_alive()
    inbox.put("database", "db1", replace(PRIMARY, version=2))
    woken.join(4)
    assert not woken.is_alive()


def test_give_has_haproxys_words() -> None:
    assert {give.value for give in Give} == {"ready", "drain", "maint"}
