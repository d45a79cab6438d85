"""A cache tier on real hosts with an application that only waits, and a client beside it that writes and reads all the time.

The client is what an application would be: it calls the local port with the application's own password, and keeps what it was
told. All hosts share the machine's monotonic clock.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from quiet_site import QuietSite

from nospof.apply.transport import Finished
from nospof.drills.workloads import sql_write
from nospof.drills.workloads.http_get import Outcome
from nospof.drills.workloads.sql_write import History

APP = "app1"
STACK = """\
name: {name}
domain: cache.example.com
hosts:
  c1: {{zone: a}}
  c2: {{zone: b}}
  w1: {{zone: c}}
  app1: {{zone: a}}
tiers:
  app: {{component: gunicorn, hosts: [app1], source: ./app, module: "app:app", to: {to}}}
  {to}: {{component: {product}, hosts: [{hosts}]{more}}}
"""
APPLICATION = """\
import os

try:
    import redis

    cache = redis.Redis.from_url(os.environ["CACHE_URL"])
except ImportError:
    cache = None


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/health" or cache is None:
        return [b"well"]
    try:
        return [b"visit %d" % cache.incr("visits")]
    except redis.RedisError as error:
        return [b"without the cache: " + repr(error).encode()]
"""


@dataclass(frozen=True)
class Write:
    """One write: its number, when it was sent and answered, by whom; `error` "": it was acknowledged."""

    number: int
    begun_s: float
    ended_s: float
    server: str
    error: str


class CacheSite(QuietSite):
    """The stack in a lab of its own. `application`, `writing`: the texts of the application and of the client."""

    application = APPLICATION
    writing = ""

    def __init__(self, folder: Path, product: str, hosts: str = "c1, c2", more: str = "", to: str = "cache") -> None:
        self.product, self.tier = product, to
        self.file = folder / "stack.yaml"
        name = f"t{secrets.token_hex(3)}"
        (folder / "app").mkdir()
        (folder / "app" / "app.py").write_text(self.application)
        (folder / "app" / "requirements.txt").write_text("" if product == "memcached" else "redis>=5\n")
        self.file.write_text(STACK.format(name=name, product=product, hosts=hosts, more=more, to=to))

    def role(self, host: str) -> dict[str, object]:
        """What the agent of `host` says of its server; {} where it says nothing."""
        outcome = self.deployment.lab.run(host, ("cat", f"/run/nospof/{self.tier}/note.json"))
        if not isinstance(outcome, Finished) or outcome.exit_code != 0:
            return {}
        note: dict[str, object] = json.loads(outcome.stdout)
        return note

    def primaries(self, *hosts: str) -> list[str]:
        """Who of `hosts` takes writes now."""
        return [host for host in hosts if self.role(host).get("takes_writes")]

    def wait_well(self, *hosts: str, limit_s: float = 60.0) -> str:
        """Wait until one of `hosts` is primary and all are well; returns the primary."""
        end_s = time.monotonic() + limit_s
        while True:
            notes = {host: self.role(host) for host in hosts}
            now_s = time.monotonic()
            fresh = [host for host, note in notes.items() if note and now_s - float(str(note["written_at"])) < 2]
            writers = [host for host in fresh if notes[host]["takes_writes"]]
            if len(writers) == 1 and all(notes[host]["is_healthy"] for host in hosts) and len(fresh) == len(hosts):
                return writers[0]
            assert time.monotonic() < end_s, {host: note.get("says") for host, note in notes.items()}
            time.sleep(0.2)

    def wait_until(self, is_so: Callable[[], bool], limit_s: float = 30.0) -> None:
        """Wait until `is_so`, which looks at hosts."""
        end_s = time.monotonic() + limit_s
        while not is_so():
            assert time.monotonic() < end_s
            time.sleep(0.1)

    def hand_over(self, host: str, to: str) -> None:
        """Have the primary on `host` pass its role on to another one."""
        program = ("python3", "/usr/lib/nospof/onhost", "cache_agent")
        self.on(host, *program, "--config", f"/etc/nospof/{self.tier}/agent.json", "leave", "--to", to)

    def priority(self, host: str) -> str:
        """What the server of `host` tells those who choose the next primary."""
        return self.on(host, "python3", "-c", PRIORITY, self.tier)

    def visit(self, path: str = "/") -> str:
        """What the application answers, asked on its own host over its socket."""
        ask = ("curl", "--silent", "--show-error", "--fail", "--max-time", "4")
        return self.on(APP, *ask, "--unix-socket", "/run/nospof/app/http.sock", f"http://app{path}")

    def unit(self, name: str) -> str:
        return f"{self.product}-{name}.service"

    def entries(self, count: int, pause_s: float) -> str:
        """Store `count` entries in Memcached through the local proxy, and read each and an older one; says what went wrong."""
        return self.on(APP, "python3", "-c", ENTRIES, str(count), str(pause_s))

    def process(self, host: str) -> str:
        """The number of the server's process on `host`."""
        return self.on(host, "systemctl", "show", "--property=MainPID", "--value", self.unit("server"))

    def tear(self, hosts: Sequence[str]) -> None:
        """Leave on the disks of `hosts`, all at once, what a power cut may leave: zeros in the place of what was not synced."""
        for host in hosts:
            self.on(host, "systemctl", "stop", self.unit("server"))
        for host in hosts:
            self.on(host, "sh", "-c", f"truncate --size=+1960 /var/lib/{self.product}/appendonlydir/*.incr.aof")
            self.on(host, "systemctl", "start", "--no-block", self.unit("server"))

    def mended(self, host: str) -> int:
        """How often that was cut off there."""
        said = self.on(host, "journalctl", "--unit", self.unit("server"), "--output=cat", "--no-pager")
        return said.count("ends in 1960 zeros that no server can read: cut off")

    def secrets(self) -> dict[str, str]:
        """All that nospof made for the stack, by the name of the file."""
        return {path.name: path.read_text().strip() for path in (self.file.parent / ".nospof/secrets").iterdir()}

    def taken(self, host: str, passwords: Mapping[str, str]) -> dict[str, bool]:
        """Of the passwords, named as by `secrets`, which the server and the Sentinel of `host` take."""
        told = json.dumps(passwords).encode()
        found: dict[str, bool] = json.loads(self.on(host, "python3", "-c", TAKEN, self.tier, self.product, stdin=told))
        return found

    @contextmanager
    def written(self, host: str = APP) -> Iterator[Writer]:
        """Somebody writes all the time on an application's host."""
        writer = Writer(self, host)
        try:
            yield writer
        finally:
            writer.stop()

    def held(self, host: str, numbers: int) -> set[int]:
        """Which of the numbers the server of `host` has, asked there as the primary's copy or as itself."""
        text = self.on(host, "python3", "-c", HELD, self.tier, str(numbers))
        return set(json.loads(text))


class Writer:
    """The client. `writes` are those so far; `stop()` ends it."""

    def __init__(self, site: CacheSite, host: str) -> None:
        self.writes: list[Write] = []
        self._site, self._host = site, host
        self._stop = f"/run/stop-{secrets.token_hex(3)}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        text = self._site.deployment.lab.run(
            self._host, ("python3", "-c", self._site.writing or WRITE, self._site.tier, self._stop), timeout_s=300
        )
        assert isinstance(text, Finished), text
        assert text.exit_code == 0, text
        self.writes = [Write(*json.loads(line)) for line in text.stdout.decode().splitlines()]

    def stop(self) -> list[Write]:
        if self._thread.is_alive():
            self._site.on(self._host, "touch", self._stop)
            self._thread.join()
        return self.writes


def history(writes: list[Write]) -> History:
    """As the checkers read it; servers are numbered by the last byte of their address. What was refused was not written."""
    outcome = {True: Outcome.OK, False: Outcome.UNKNOWN}
    return History(
        tuple(
            sql_write.Write(
                0,
                str(write.number),
                write.begun_s,
                write.ended_s,
                outcome[not write.error],
                server_id=int(write.server.rpartition(":")[0].rpartition(".")[2]) if write.server else None,
                error=write.error,
            )
            for write in writes
        )
    )


def gap_s(writes: list[Write]) -> float:
    """The longest time between two acknowledgements."""
    ended = sorted(write.ended_s for write in writes if not write.error)
    return max((later - sooner for sooner, later in pairwise(ended)), default=float("inf"))


COMMON = """
import json, os, sys, time
sys.path.insert(0, "/usr/lib/nospof/onhost")
import ssl
from nospof.onhost.resp import Connection, Place, Refused
def variables(tier):
    lines = open("/etc/nospof/app.env").read().splitlines()
    told = dict(line.split("=", 1) for line in lines)
    return {name: value.strip('"') for name, value in told.items()}
def context():
    made = ssl.create_default_context(cafile="/etc/nospof/tls/ca.pem")
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return made
"""
WRITE = (
    COMMON
    + """
tier, stop = sys.argv[1:]
tls = context()
number, line, server = 0, None, ""
while not os.path.exists(stop):
    number += 1
    begun, error = time.monotonic(), ""
    try:
        if line is None:
            # As an application, which is started again when its settings change.
            told = variables(tier)
            at, user, password = (told["CACHE_HOST"], int(told["CACHE_PORT"])), told["CACHE_USER"], told["CACHE_PASSWORD"]
            place = Place(tier, *at, user=user, password=password)
            line = Connection(place, tls, 1.0)
            server = dict(pair.split("=", 1) for pair in line.ask("CLIENT", "INFO").split()).get("laddr", "")
        line.ask("SET", f"number:{number}", number)
    except (OSError, ValueError, Refused) as problem:
        error = f"{type(problem).__name__}: {problem}"
        if line is not None:
            line.close()
        line = None
    print(json.dumps([number, begun, time.monotonic(), server, error]))
    time.sleep(0.005)
"""
)
PRIORITY = (
    COMMON
    + """
from pathlib import Path
from nospof.onhost.cache_agent import read_config
config = read_config(Path(f"/etc/nospof/{sys.argv[1]}/agent.json"))
print(Connection(config.server, None, 2.0).ask("CONFIG", "GET", "slave-priority")[1])
"""
)
HELD = (
    COMMON
    + """
tier, numbers = sys.argv[1], int(sys.argv[2])
config = json.load(open(f"/etc/nospof/{tier}/agent.json"))
text = open(f"/etc/nospof/{tier}/users.acl").read()
user = next(line.split() for line in text.splitlines() if line.startswith("user app "))
line = Connection(Place(path=config["socket"], user="app", password=user[3][1:]), None, 5.0)
print(json.dumps([number for number in range(1, numbers + 1) if line.ask("EXISTS", f"number:{number}")]))
"""
)
# By name of the secret, whether it is taken where it is a password.
TAKEN = (
    COMMON
    + """
from dataclasses import replace
from pathlib import Path
from nospof.onhost.sentinel_monitors import read_config
tier, product = sys.argv[1:]
socket = json.load(open(f"/etc/nospof/{tier}/agent.json"))["socket"]
monitors = read_config(Path(f"/etc/nospof/{product}-sentinel/monitors.json"))
users = {f"{tier}.{who}": f"nospof_{who}" for who in ("agent", "replication", "sentinel")} | {f"{tier}.app": "app"}
found = {}
for name, password in json.load(sys.stdin).items():
    try:
        if name in users:
            Connection(Place(path=socket, user=users[name], password=password), None, 5.0)
        elif name == f"{product}-sentinel.watch":
            replace(monitors, password=password).connected(monitors.host)
        else:
            continue
        found[name] = True
    except Refused:
        found[name] = False
print(json.dumps(found))
"""
)
ENTRIES = """
import socket, sys, time
count, pause_s = int(sys.argv[1]), float(sys.argv[2])
told = dict(line.split("=", 1) for line in open("/etc/nospof/app.env").read().splitlines())
place = told["CACHE_HOST"].strip('"'), int(told["CACHE_PORT"].strip('"'))
line = socket.create_connection(place, 2.0)
answers = line.makefile("rb")
failed = missing = 0
slowest_s = 0.0
def ask(text, more):
    global slowest_s
    begun_s = time.monotonic()
    line.sendall(text.encode())
    said = answers.readline().decode().strip()
    for _ in range(more if said.startswith("VALUE") else 0):
        answers.readline()
    slowest_s = max(slowest_s, time.monotonic() - begun_s)
    return said
for number in range(1, count + 1):
    failed += ask(f"set k{number} 0 60 {len(str(number))}\\r\\n{number}\\r\\n", 0) != "STORED"
    for other in (number, max(1, number - 30)):
        said = ask(f"get k{other}\\r\\n", 2)
        failed += said.startswith("SERVER_ERROR")
        missing += said == "END"
    time.sleep(pause_s)
print(f"{failed} failed, {missing} missing, slowest {slowest_s:.2f} s")
"""
