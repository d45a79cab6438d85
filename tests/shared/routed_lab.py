"""An application host with its router and two database hosts that only pretend: notes written by the test, servers that say who
they are. Units, configuration and programs are the real ones.

All hosts share the machine's monotonic clock, so that times taken here and there compare.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mariadb_lab import Authority
from tests.unit.stacks import stack, tier

from nospof import component as c
from nospof.apply import trips
from nospof.apply.transport import Finished
from nospof.components.mariadb import MariadbSettings
from nospof.lab.host import Host
from nospof.lab.lab import Lab, LabHost, LabPlan
from nospof.render.host import all_packages
from nospof.resolve import Allotment, component_of, resolve
from nospof.stack.model import Tier
from nospof.topology import InstanceId

APP, DATABASES = "app1", ("db1", "db2")
HAPROXY, LEAD = "nospof-database-router", "nospof-database-router-lead"
WRITES, READS = ("127.0.1.1", 3306), ("127.0.1.1", 3307)
ROLE_CONFIG, NOTE = "/etc/nospof/database/roles.json", "/run/nospof/database/note.json"
FACTS = c.Facts("3.13", "13.1", "x86_64", "eth0", 16, 20_000, 24_000, 2)


class RoutedLab:
    """The lab; `note()` is what an agent would do, `Calls` what an application would."""

    def __init__(self) -> None:
        database = Tier("database", "mariadb", DATABASES, MariadbSettings.model_validate({}))
        self.topology = resolve(
            stack("app1:a db1:a db2:b", tier("shop-app", "application", APP, "database"), database), Allotment()
        ).topology
        self.lab = Lab.open(f"test-{secrets.token_hex(3)}")
        self.agents = {name: Agent(self, name) for name in DATABASES}

    def up(self) -> None:
        """Boot the hosts and start everything; both databases are replicas of term 1."""
        hosts = tuple(LabHost(host.name, host.zone, host.address) for host in self.topology.hosts)
        # The unit tests' components, of which the stack is made, want packages that do not exist.
        packages = tuple(name for name in all_packages() if not name.startswith("test-"))
        self.lab.up(LabPlan(self.lab.places.lab, hosts, packages, ()), lambda *_: None)
        authority = Authority()
        for name in (APP, *DATABASES):
            self.write(name, "/etc/nospof/tls/ca.pem", authority.ca)
            self._install_programs(name)
        for name in DATABASES:
            self._install_database(name, authority)
            self.agents[name].start()
        self._install_router()

    def down(self) -> None:
        for agent in self.agents.values():
            agent.stop()
        self.lab.down()

    def run(self, host: str, *argv: str, stdin: bytes = b"") -> str:
        """Run a command on the host, which must work."""
        outcome = self.lab.run(host, argv, stdin)
        assert isinstance(outcome, Finished), f"{host}: {outcome}"
        assert outcome.exit_code == 0, f"{host}: {' '.join(argv)}: {outcome}"
        return outcome.stdout.decode().strip()

    def write(self, host: str, path: str, content: bytes | str, mode: str = "644") -> None:
        told = content.encode() if isinstance(content, str) else content
        self.run(host, "sh", "-euc", 'mkdir -p "$(dirname "$0")" && cat >"$0" && chmod "$1" "$0"', path, mode, stdin=told)

    def note(self, host: str, role: str, term: int, **others: object) -> float:
        """Have the agent of `host` write a note; returns when."""
        return self.agents[host].note(role, term, **others)

    def flip(self, to: str, term: int) -> float:
        """Make `to` the primary and the other a replica, which learns it last; returns when `to` told it."""
        at_s = self.note(to, "primary", term)
        self.note(next(name for name in DATABASES if name != to), "replica", term)
        return at_s

    def haproxy(self, line: str) -> str:
        """Ask HAProxy through its admin socket."""
        program = "import socket,sys;s=socket.socket(1);s.connect(sys.argv[1]);s.sendall(sys.argv[2].encode()+b'\\n')\n"
        program += "while b:=s.recv(65536): sys.stdout.write(b.decode())"
        return self.run(APP, "python3", "-c", program, "/run/nospof-database-router/admin.sock", line)

    def root(self, host: str) -> Path:
        return Path(f"/proc/{Host(self.lab.places.host(host))._init_process()}/root")

    def _install_programs(self, host: str) -> None:
        sha256, tar = trips.onhost_blob()
        release = f"{c.ONHOST}-{sha256[:12]}"
        self.run(host, "sh", "-euc", 'mkdir -p "$0" && tar -x -C "$0" && ln -sfn "$0" "$1"', release, c.ONHOST, stdin=tar)

    def _install_database(self, name: str, authority: Authority) -> None:
        address = self.topology.host(name).address
        certificate, key = authority.issue(name, address)
        self.write(name, "/etc/nospof/tls/database.crt", certificate)
        self.write(name, "/etc/nospof/tls/database.key", key)
        config = {
            "tier": "database",
            "host": name,
            "address": address,
            "role_port": 8008,
            "note_file": NOTE,
            "certificate": "/etc/nospof/tls/database.crt",
            "key": "/etc/nospof/tls/database.key",
        }
        self.write(name, ROLE_CONFIG, json.dumps(config))
        self.run(name, "mkdir", "-p", str(Path(NOTE).parent))
        self._service(name, "pretend", "python3", "-c", PRETEND, name, address)
        self._service(name, "roles", "python3", c.ONHOST, "database_roles", "--config", ROLE_CONFIG)

    def _service(self, host: str, name: str, *argv: str) -> None:
        keep = ("--property=Restart=always", "--property=RestartSec=100ms", "--property=LimitNOFILE=15000")
        self.run(host, "systemd-run", "-q", f"--unit={name}", *keep, *argv)

    def _install_router(self) -> None:
        instance = self.topology.instance(InstanceId("database-router", APP))
        here = c.Context(self.topology, instance, FACTS, {}, {"base/onhost": trips.onhost_blob()[0]})
        parts = component_of(instance).parts(here)
        for file in parts.files:
            if "\x02" not in file.text:
                self.write(APP, file.path, file.text)
        for unit in parts.units:
            self.write(APP, f"/etc/systemd/system/{unit.name}", unit.text or "")
        self.run(APP, "systemctl", "daemon-reload")
        for unit in parts.units:
            self.run(APP, "systemctl", "start", unit.name)


class Agent:
    """Writes the notes of one host: at each change and every 0.25 s."""

    def __init__(self, lab: RoutedLab, host: str) -> None:
        self._lab, self._host = lab, host
        self._lock = threading.Lock()
        self._told: dict[str, object] = {}
        self._stopped = threading.Event()
        self._version = int(time.time() * 1000)
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def start(self) -> None:
        self.note("replica", 1)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def note(self, role: str, term: int, **others: object) -> float:
        with self._lock:
            self._version += 1
            self._told = {
                "valid_for_s": 1.0,
                "version": self._version,
                "host": self._host,
                "tier": "database",
                "term": term,
                "revision": self._version,
                "role": role,
                "takes_writes": role == "primary",
                "fit_for_reads": role == "replica",
                "is_moving": False,
                "is_healthy": True,
                "says": role,
                "details": {},
                **others,
            }
            return self._write()

    def _write(self) -> float:
        now_s = time.monotonic()
        new = self._note_file.with_name("new")
        new.write_text(json.dumps({**self._told, "written_at": now_s}))
        new.replace(self._note_file)
        return now_s

    @cached_property
    def _note_file(self) -> Path:
        return self._lab.root(self._host) / NOTE.lstrip("/")

    def _repeat(self) -> None:
        while not self._stopped.wait(0.25):
            with self._lock, contextlib.suppress(OSError):
                self._write()


@dataclass(frozen=True)
class Call:
    """One connection: when it was begun and answered, and by whom; `error` "": it was answered."""

    begun_s: float
    answered_s: float
    host: str
    error: str


class Calls:
    """Connections from the application host, one every `1/rate` seconds, until `stop()`."""

    def __init__(self, lab: RoutedLab, to: tuple[str, int], rate: float, limit_s: float = 15.0) -> None:
        argv = lab.lab.network_argv(APP, [sys.executable, "-c", CALLS, to[0], str(to[1]), str(rate), str(limit_s)])
        self._program = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop(self) -> list[Call]:
        """End it, once all open ones were answered."""
        text, _ = self._program.communicate("", timeout=60)
        return sorted((Call(*json.loads(line)) for line in text.splitlines()), key=lambda call: call.begun_s)


PRETEND = """
import selectors, socket, sys
name, address = sys.argv[1:]
door = socket.create_server((address, 3306), backlog=4096)
door.setblocking(False)
chosen = selectors.DefaultSelector()
chosen.register(door, selectors.EVENT_READ)
while True:
    for key, _ in chosen.select():
        caller = key.fileobj
        try:
            if caller is door:
                caller, _ = door.accept()
                chosen.register(caller, selectors.EVENT_READ)
                caller.sendall(name.encode())
            elif not caller.recv(4096):
                raise ConnectionResetError
        except OSError:
            if caller is not door:
                chosen.unregister(caller)
                caller.close()
"""

CALLS = """
import asyncio, json, resource, sys, time
host, port, rate, limit_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
done = []

async def call():
    begun, who, error = time.monotonic(), "", ""
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(host, port)
            who = (await reader.read(100)).decode()
            error = "" if who else "closed"
            writer.close()
    except (OSError, TimeoutError) as problem:
        error = type(problem).__name__
    done.append([begun, time.monotonic(), who, error])

async def main():
    loop, calls, stopped = asyncio.get_running_loop(), set(), asyncio.Event()
    loop.add_reader(sys.stdin, stopped.set)
    begun, number = time.monotonic(), 0
    while not stopped.is_set():
        number += 1
        one = asyncio.create_task(call())
        calls.add(one)
        one.add_done_callback(calls.discard)
        await asyncio.sleep(max(0, begun + number / rate - time.monotonic()))
    loop.remove_reader(sys.stdin)
    await asyncio.gather(*calls)

asyncio.run(main())
for line in done:
    print(json.dumps(line))
"""
