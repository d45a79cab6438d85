"""The agent beside a cache server: it asks the Sentinels who is primary; its server refuses writes where that is not known.

    cache_agent --config FILE run      look, tell, refuse or allow writes; until SIGTERM
    cache_agent --config FILE start    before the server starts: write how it is to begin, once that is known
    cache_agent --config FILE leave    before the server stops: hand the role over, if it has it and somebody can take it;
                                       with --to HOST to that one

Sentinel replaces a primary; what Sentinel cannot do is done here: a server that was cut off refuses writes before another one
is promoted, one that died does not come back empty as primary, and one that is stopped on purpose hands over first, so that
nothing is lost. What follows from what is seen is decided in nospof.onhost.cache_roles; what is told to the routers is
told by nospof.onhost.database_roles, from the note this program writes.
Source: https://valkey.io/commands/wait/, https://valkey.io/topics/sentinel/ (SENTINEL MASTER, SENTINEL FAILOVER); both products
answer to the older names of these commands.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import SubprocessError
from typing import NoReturn, TypeVar

from nospof.onhost import cache_log
from nospof.onhost import cache_roles as roles
from nospof.onhost.cache_roles import Beginning, Concluded, Remembered, Rules, Seen, ServerSeen, Watch
from nospof.onhost.resp import Connection, Place, Refused, client_context, pairs
from nospof.onhost.threads import run_beside
from nospof.onhost.watchdog import tell_systemd

# A note is written at each change and this often; it holds for as long as the agent may need to start again.
TELL_EVERY_S, VALID_S = 0.25, 1.5
ASK_S = 0.5
PAUSE_S, FORGETS_EVERY_S = 0.1, 15.0
START_S, LEAVE_S, SAME_S = 85.0, 6.0, 1.5
# The watchers learn within ten seconds of a copy's priority.
GIVES_BACK_AFTER_S, GIVE_BACK_LOOK_S = 12.0, 1.0
KNOWN_S, FIRST_PRIORITY = 12.0, 1
# As the component writes them.
NORMAL_PRIORITY, SPARE_PRIORITY = "100", "200"

log = logging.getLogger("nospof")
T = TypeVar("T")
TROUBLE = (OSError, ValueError, Refused)


def main(argv: list[str]) -> int:
    """Do what is asked; 1 when it cannot be done, with the reason as a line of the log."""
    parser = argparse.ArgumentParser(prog="cache_agent")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("question", choices=("run", "start", "leave"))
    parser.add_argument("--to", default="")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        config = read_config(arguments.config)
        if arguments.question == "start":
            return start(config)
        if arguments.question == "leave":
            return 0 if leave(config, arguments.to) else 1
        run(config)
    except TROUBLE as error:
        log.error("%s: %s: %s", arguments.question, type(error).__name__, error)
    return 1


# --- what it is told -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Config:
    """`members`, `watchers`: by host, the address.

    Passwords are read whenever a connection is made: other ones are no reason to begin anew, and be without trust for a moment.

    `spares`: hosts of last resort, which pass the role on once another one can have it. `refused_file`: is there when the
    server ended by itself with an error, as it does where it cannot read `data_folder`; `log_checker` then says where.
    """

    tier: str
    host: str
    members: Mapping[str, str]
    watchers: Mapping[str, str]
    port: int
    watch_port: int
    socket: str
    passwords_file: str
    needs: int
    trust_s: float
    look_every_s: float
    replaced_s: float
    read_lag_limit_s: float
    note_file: str
    start_file: str
    leaving_file: str
    ca: str
    certificate: str
    key: str
    spares: Sequence[str] = ()
    data_folder: str = ""
    log_checker: str = ""
    refused_file: str = ""

    @property
    def address(self) -> str:
        return self.members[self.host]

    @property
    def server(self) -> Place:
        return Place(path=self.socket, user="nospof_agent", password=self._password("server"))

    def member(self, host: str) -> Place:
        """The server of any host, over the network. Raises ValueError where the tier has none there."""
        if host not in self.members:
            raise ValueError(f"{host} is none of {', '.join(self.members)}")
        return Place(host, self.members[host], self.port, user="nospof_agent", password=self._password("server"))

    def watcher(self, host: str) -> Place:
        return Place(host, self.watchers[host], self.watch_port, password=self._password("watchers"))

    def _password(self, of: str) -> str:
        """The present one. Raises OSError or ValueError where it cannot be read."""
        return str(json.loads(Path(self.passwords_file).read_text()).get(of, ""))

    @property
    def rules(self) -> Rules:
        limits = (self.trust_s, self.needs, self.read_lag_limit_s)
        return Rules(self.address, len(self.members), len(self.watchers), *limits, is_spare=self.host in self.spares)

    @property
    def normal(self) -> set[str]:
        """Addresses of the hosts that are no spares."""
        return {address for host, address in self.members.items() if host not in self.spares}

    @property
    def context(self) -> ssl.SSLContext:
        return client_context(self.ca, self.certificate, self.key)


def read_config(path: Path) -> Config:
    """Read what the component wrote. Raises OSError, TypeError or ValueError if it is missing or wrong."""
    return Config(**json.loads(path.read_text()))


# --- asking --------------------------------------------------------------------------------------------------------------
class Line:
    """A connection that is made when it is needed, and again after an error. For one thread. `place` is asked each time."""

    def __init__(self, place: Callable[[], Place], context: ssl.SSLContext | None, timeout_s: float = ASK_S) -> None:
        self._place, self._context, self._timeout_s = place, context, timeout_s
        self._connection: Connection | None = None

    def ask(self, question: Callable[[Connection], T]) -> T:
        """Ask. Raises OSError, ValueError or Refused, after which the next call connects anew."""
        try:
            if self._connection is None:
                self._connection = Connection(self._place(), self._context, self._timeout_s)
            return question(self._connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def watch_seen(fields: Mapping[str, str], asked_s: float) -> Watch:
    """Read a watcher's answer to SENTINEL MASTER. Raises ValueError if it is none. Pure."""
    flags = set(fields.get("flags", "").split(","))
    if "ip" not in fields or not fields.get("config-epoch", "").isdigit():
        raise ValueError("the watcher does not tell of its primary")
    return Watch(
        fields["ip"],
        int(fields["config-epoch"]),
        is_down=bool(flags & {"s_down", "o_down"}),
        is_replacing="failover_in_progress" in flags,
        asked_s=asked_s,
        other_watchers=int(fields.get("num-other-sentinels", "0")),
        copies=int(fields.get("num-slaves", "0")),
    )


def ask_watcher(connection: Connection, name: str) -> Watch:
    """Ask one watcher. Raises as `Connection.ask`."""
    asked_s = time.monotonic()
    return watch_seen(pairs(connection.ask("SENTINEL", "MASTER", name)), asked_s)


def living_replicas(connection: Connection, name: str) -> int:
    """How many replicas this watcher thinks alive and fit. Raises as `Connection.ask`."""
    told = connection.ask("SENTINEL", "REPLICAS", name)
    flags = [pairs(one).get("flags", "") for one in told] if isinstance(told, list) else []
    return sum(not set(flag.split(",")) & {"s_down", "o_down", "disconnected"} for flag in flags)


def server_seen(text: str, min_replicas: int) -> ServerSeen:
    """Read the server's own answer to INFO. Raises ValueError if it is none. Pure."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if fields.get("role") not in ("master", "slave"):
        raise ValueError("the server does not tell its role")
    return ServerSeen(
        is_primary=fields["role"] == "master",
        min_replicas=min_replicas,
        primary_address=fields.get("master_host", ""),
        is_linked=fields.get("master_link_status") == "up",
        is_loading=fields.get("loading", "0") != "0",
        silent_s=_silent_s(fields),
        offset=int(fields.get("slave_repl_offset", fields.get("master_repl_offset", "0"))),
    )


def _silent_s(fields: Mapping[str, str]) -> float:
    """How long a replica hears nothing; forever, where it never heard anything."""
    since = [int(fields.get(name, "-1")) for name in ("master_last_io_seconds_ago", "master_link_down_since_seconds")]
    return float(max(since)) if max(since) >= 0 else float("inf")


def ask_server(connection: Connection) -> ServerSeen:
    """Ask this host's server. Raises as `Connection.ask`."""
    text = f"{connection.ask('INFO', 'replication')}\n{connection.ask('INFO', 'persistence')}"
    told = pairs(connection.ask("CONFIG", "GET", "min-slaves-to-write"))
    return server_seen(text, int(told.get("min-slaves-to-write", "-1")))


class Watcher:
    """Asks one watcher again and again; `last` is what it said last."""

    def __init__(self, config: Config, host: str, context: ssl.SSLContext) -> None:
        self.host = host
        self.last: Watch | None = None
        self._config, self._line = config, Line(lambda: config.watcher(host), context)
        self._said = ""
        self._forgets = threading.Event()
        self._forgot_s = time.monotonic()

    def keep_asking(self) -> None:
        """Ask for ever."""
        while True:
            began_s = time.monotonic()
            try:
                self.last = self._line.ask(lambda connection: ask_watcher(connection, self._config.tier))
                if self._forgets.is_set():
                    self._forget()
                self._say("")
            except TROUBLE as error:
                self._say(f"{type(error).__name__}: {error}")
            time.sleep(max(0.02, began_s + self._config.look_every_s - time.monotonic()))

    def ask_to_forget(self) -> None:
        """Have it begin anew with whom it knows, now and then; who is still there it meets again within two seconds."""
        if time.monotonic() - self._forgot_s > FORGETS_EVERY_S:
            self._forgets.set()

    def _forget(self) -> None:
        self._forgets.clear()
        self._forgot_s = time.monotonic()
        log.info("watcher %s: forgets those that left", self.host)
        self._line.ask(lambda connection: connection.ask("SENTINEL", "RESET", self._config.tier))

    def _say(self, problem: str) -> None:
        if problem != self._said:
            self._said = problem
            log.info("watcher %s: %s", self.host, f"not heard: {problem}" if problem else "is heard")


class Followers:
    """Finds out, while it is told to, whether all other servers of the tier follow this one: `followed_s` is since when."""

    def __init__(self, config: Config) -> None:
        self.followed_s = roles.NEVER
        self.is_wanted = threading.Event()
        self._others = len(config.members) - 1
        self._line = Line(lambda: config.server, None, timeout_s=2 * ASK_S)

    def keep_asking(self) -> None:
        """Ask for ever, while it is wanted."""
        while True:
            self.is_wanted.wait()
            asked_s = time.monotonic()
            with contextlib.suppress(*TROUBLE):
                if self._line.ask(self._all_follow):
                    self.followed_s = asked_s
            time.sleep(PAUSE_S)

    def _all_follow(self, connection: Connection) -> bool:
        """Something that every replica receives is sent, and their word for it awaited."""
        connection.ask("PUBLISH", "nospof:pulse", "")
        heard = connection.ask("WAIT", self._others, int(1000 * ASK_S))
        return isinstance(heard, int) and heard >= self._others


class GivesBack:
    """Has a spare that is primary pass the role on, once a normal server has followed it for a while."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._line = Line(lambda: config.server, None)
        self._followed_since_s: float | None = None

    def keep_asking(self) -> None:
        """Ask for ever."""
        while True:
            time.sleep(GIVE_BACK_LOOK_S)
            self.look(time.monotonic())

    def look(self, now_s: float) -> None:
        """One look, and the handover when it is time for it; where nobody took over it is tried again later."""
        try:
            is_followed = bool(self._line.ask(_copies) & self._config.normal)
        except TROUBLE:
            is_followed = False
        since_s = self._followed_since_s if is_followed else None
        self._followed_since_s = since_s if since_s is not None or not is_followed else now_s
        if since_s is not None and now_s - since_s >= GIVES_BACK_AFTER_S:
            log.info("a normal server is there again: this one, a spare, hands over")
            self._followed_since_s = None
            with contextlib.suppress(*TROUBLE):
                leave(self._config)


def _copies(connection: Connection) -> set[str]:
    return copies_seen(str(connection.ask("INFO", "replication")))


def copies_seen(text: str) -> set[str]:
    """The addresses of the copies that a primary feeds, from its own INFO; a copy feeds nobody that counts. Pure."""
    fields = dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)
    copies = [value for name, value in fields.items() if re.fullmatch(r"slave[0-9]+", name)]
    told = [dict(part.split("=", 1) for part in copy.split(",") if "=" in part) for copy in copies]
    return {copy.get("ip", "") for copy in told if copy.get("state") == "online"} if fields.get("role") == "master" else set()


# --- run -----------------------------------------------------------------------------------------------------------------
class Teller:
    """Writes notes: at each change, and again before the last one is too old."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._version = time.time_ns() // 1_000_000 * 2
        self._told: dict[str, object] = {}
        self._at_s = roles.NEVER

    def tell(self, concluded: Concluded, term: int) -> None:
        now_s = time.monotonic()
        told: dict[str, object] = {
            "term": term,
            "revision": term,
            "role": concluded.role.value,
            "takes_writes": concluded.takes_writes,
            "fit_for_reads": concluded.fit_for_reads,
            "is_moving": concluded.is_moving,
            "is_healthy": concluded.is_healthy,
            "says": concluded.says,
        }
        if told == self._told and now_s - self._at_s < TELL_EVERY_S:
            return
        if told != self._told:
            self._version += 2  # the role server takes the number after it for a note that is too old
            if told["says"] != self._told.get("says"):
                log.info("%s: %s", concluded.role.value, concluded.says)
        self._told, self._at_s = told, now_s
        same = {"version": self._version, "host": self._config.host, "tier": self._config.tier}
        whole = {**told, **same, "details": dict(concluded.details), "written_at": now_s, "valid_for_s": VALID_S}
        replace_file(Path(self._config.note_file), json.dumps(whole) + "\n")


@dataclass(frozen=True)
class Process:
    """A process, told from a later one with the same number by when it began (clock ticks since the start of the host)."""

    pid: int
    began: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this number now; None where there is none."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        # Counted from the state, which comes after the name: proc_pid_stat(5) has the time as field 22. A zombie is gone.
        return cls(pid, fields[19]) if fields[:1] != ["Z"] else None

    def is_there(self) -> bool:
        return Process.of(self.pid) == self


@dataclass
class Agent:
    """Looks, decides, acts."""

    config: Config
    line: Line
    watchers: tuple[Watcher, ...]
    followers: Followers
    teller: Teller
    remembered: Remembered = field(default_factory=Remembered)
    process: Process | None = None

    def step(self) -> Concluded:
        """One look and what follows from it."""
        server = self._server()
        watches = [watcher.last for watcher in self.watchers if watcher.last is not None]
        seen = Seen(server, watches, self.followers.followed_s, time.monotonic())
        is_leaving = Path(self.config.leaving_file).exists()
        concluded, self.remembered = roles.conclude(seen, self.remembered, self.config.rules, is_leaving=is_leaving)
        # Not while it hands over: what is sent after the last write makes it copy everything anew.
        self._ask_followers(seen, may_ask=not is_leaving)
        # The primary's agent alone, and one watcher at a time: the others must be able to replace it meanwhile.
        if concluded.takes_writes:
            strangers = [one for one in self.watchers if one.last and roles.knows_strangers(one.last, self.config.rules)]
            for watcher in strangers[:1]:
                watcher.ask_to_forget()
        # Writes end before it is told that they do, and begin before it is told.
        self._obey(server, concluded)
        self.teller.tell(concluded, self.remembered.term)
        return concluded

    def _server(self) -> ServerSeen | None:
        try:
            seen = self.line.ask(ask_server)
        except ConnectionError:
            # A server that gets another role ends its clients' connections: that is no reason not to ask it.
            with contextlib.suppress(*TROUBLE):
                return self.line.ask(ask_server)
            return None
        except TROUBLE:
            return None
        if self.process is None or not self.process.is_there():
            with contextlib.suppress(*TROUBLE):
                told = str(self.line.ask(lambda connection: connection.ask("INFO", "server")))
                pids = [int(line.partition(":")[2]) for line in told.splitlines() if line.startswith("process_id:")]
                self.process = Process.of(pids[0]) if pids else None
        return seen

    def _ask_followers(self, seen: Seen, *, may_ask: bool) -> None:
        """Only where the watchers do not tell: it costs a write to all replicas each time."""
        is_alone = seen.server is not None and seen.server.is_primary and len(self.config.members) > 1
        trusted = seen.now_s - self.remembered.trusted_s < self.config.trust_s / 2 and self.followers.followed_s == roles.NEVER
        (self.followers.is_wanted.set if is_alone and may_ask and not trusted else self.followers.is_wanted.clear)()
        if seen.now_s - self.followers.followed_s > 2 * self.config.trust_s:
            self.followers.followed_s = roles.NEVER

    def _obey(self, server: ServerSeen | None, concluded: Concluded) -> None:
        if concluded.kill and self.process is not None and self.process.is_there():
            log.info("kills the server, which is frozen and was replaced: it must not go on as primary")
            os.kill(self.process.pid, signal.SIGKILL)
            self.process = None
        if server is None:
            return
        with contextlib.suppress(*TROUBLE):
            if server.min_replicas != concluded.min_replicas:
                self.line.ask(lambda connection: connection.ask("CONFIG", "SET", "min-slaves-to-write", concluded.min_replicas))
            if concluded.follow:
                log.info("follows %s, as a majority of the watchers says", concluded.follow)
                self.line.ask(lambda connection: connection.ask("REPLICAOF", concluded.follow, self.config.port))


def run(config: Config) -> NoReturn:
    """Be the agent until SIGTERM."""
    context = config.context
    threading.stack_size(256 * 1024)
    watchers = tuple(Watcher(config, host, context) for host in sorted(config.watchers))
    followers = Followers(config)
    gives_back = [GivesBack(config).keep_asking] if config.rules.is_spare else []
    for work in (*(watcher.keep_asking for watcher in watchers), followers.keep_asking, *gives_back):
        run_beside(work)
    agent = Agent(config, Line(lambda: config.server, None), watchers, followers, Teller(config))
    while True:
        began_s = time.monotonic()
        agent.step()
        tell_systemd("WATCHDOG=1")
        time.sleep(max(0.01, began_s + PAUSE_S - time.monotonic()))


# --- start ---------------------------------------------------------------------------------------------------------------
def start(config: Config) -> int:
    """Wait until it is known how the server is to begin, and write that; 1 where it was not known for long."""
    context = config.context
    began_s, said = time.monotonic(), ""
    Path(config.leaving_file).unlink(missing_ok=True)
    while (waited_s := time.monotonic() - began_s) < START_S:
        asked = [found for host in sorted(config.watchers) if (found := _ask_once(config, host, context))]
        watches = [watch for watch, _ in asked]
        living = max((living for _, living in asked), default=0)
        how, whom = roles.beginning(
            watches, config.rules, living_replicas=living, waited_s=waited_s, replaced_s=config.replaced_s
        )
        if how is not Beginning.WAIT:
            log.info("begins as %s", f"replica of {whom}" if whom else "primary")
            if config.refused_file:
                mend_log(Path(config.refused_file), Path(config.data_folder), config.log_checker, is_copy=whom != "")
            replace_file(Path(config.start_file), f"replicaof {whom} {config.port}\n" if whom else "# primary\n")
            return 0
        says = "waits to be replaced" if watches else "waits for a majority of the watchers"
        if says != said:
            said = says
            log.info("%s", says)
        time.sleep(PAUSE_S)
    log.error("no majority of the watchers says who is primary")
    return 1


def mend_log(refused: Path, data: Path, checker: str, *, is_copy: bool) -> None:
    """Have a server able to read its log, where `refused` says that its last start failed; that file is removed.

    Not each time: to look through the log would make every start slow. Where it cannot be mended the server says itself why it
    does not start.
    """
    if not refused.exists():
        return
    try:
        if done := cache_log.mend(data, checker, is_copy=is_copy):
            log.warning("%s", done)
    except (OSError, SubprocessError, ValueError) as error:
        log.error("%s", error)
    refused.unlink()


def _ask_once(config: Config, host: str, context: ssl.SSLContext) -> tuple[Watch, int] | None:
    try:
        with Connection(config.watcher(host), context, ASK_S) as connection:
            return ask_watcher(connection, config.tier), living_replicas(connection, config.tier)
    except TROUBLE:
        return None


# --- leave ---------------------------------------------------------------------------------------------------------------
def leave(config: Config, to: str = "") -> bool:
    """Have another server take the role of this one, if it is primary; False where nobody did, and all is as it was.

    `to`: the host that is to have it; "" = whom the watchers choose.
    """
    with Connection(config.server, None, ASK_S) as server:
        if len(config.members) < 2 or to == config.host or not ask_server(server).is_primary:
            return True
        with _chosen(config, to):
            return _leave(config, server, to)


@contextlib.contextmanager
def _chosen(config: Config, host: str) -> Iterator[None]:
    """For as long as this lasts, the watchers choose the server of `host` first."""
    if not host:
        yield
        return
    context = config.context
    with Connection(config.member(host), context, ASK_S) as wanted:
        before = pairs(wanted.ask("CONFIG", "GET", "slave-priority")).get("slave-priority", "")
        # Who was ended in the middle of this has left it so.
        if before in ("", str(FIRST_PRIORITY)):
            before = SPARE_PRIORITY if host in config.spares else NORMAL_PRIORITY
        wanted.ask("CONFIG", "SET", "slave-priority", FIRST_PRIORITY)
    try:
        if not _until(lambda: _is_known_first(config, context, host), KNOWN_S):
            raise TimeoutError(f"not all watchers know that {host} is to be next")
        yield
    finally:
        # By another connection: who gets another role ends those that it has.
        if not _until(lambda: _has_priority(config, context, host, before), KNOWN_S):
            log.error(
                "%s keeps the priority %d, and is promoted before others, until it is started again", host, FIRST_PRIORITY
            )


def _has_priority(config: Config, context: ssl.SSLContext, host: str, priority: str) -> bool:
    with contextlib.suppress(*TROUBLE), Connection(config.member(host), context, ASK_S) as wanted:
        return wanted.ask("CONFIG", "SET", "slave-priority", priority) == "OK"
    return False


def _is_known_first(config: Config, context: ssl.SSLContext, host: str) -> bool:
    """Whether all watchers that answer know its priority."""
    known = []
    for watcher in config.watchers:
        with contextlib.suppress(*TROUBLE), Connection(config.watcher(watcher), context, ASK_S) as connection:
            told = connection.ask("SENTINEL", "REPLICAS", config.tier)
            copies = [pairs(one) for one in told] if isinstance(told, list) else []
            priorities = {copy.get("ip"): copy.get("slave-priority") for copy in copies}
            known.append(priorities.get(config.members[host]) == str(FIRST_PRIORITY))
    return bool(known) and all(known)


def _leave(config: Config, server: Connection, to: str) -> bool:
    leaving = Path(config.leaving_file)
    leaving.touch()
    try:
        # The agent would do it within a moment, if it runs.
        server.ask("CONFIG", "SET", "min-slaves-to-write", roles.NO_WRITES)
        # The watchers look at the priority before they look at who has more.
        wanted = max(1, len(_copies(server))) if to or config.spares else 1
        if not _until(lambda: _have_everything(server, wanted), SAME_S):
            log.error("no replica has everything: nobody takes over")
            return False
        return _hand_over(config, to)
    finally:
        leaving.unlink(missing_ok=True)


def _have_everything(server: Connection, wanted: int) -> bool:
    """Whether so many replicas have acknowledged all that was written."""
    server.ask("PUBLISH", "nospof:pulse", "")
    heard = server.ask("WAIT", wanted, 200)
    return isinstance(heard, int) and heard >= wanted


def _hand_over(config: Config, to: str) -> bool:
    context = config.context
    for host in sorted(config.watchers, key=lambda host: host == config.host):
        try:
            with Connection(config.watcher(host), context, ASK_S) as watcher:
                # Without a majority it would be the word of one, which is none.
                if not str(watcher.ask("SENTINEL", "CKQUORUM", config.tier)).startswith("OK"):
                    continue
                watcher.ask("SENTINEL", "FAILOVER", config.tier)
                break
        except TROUBLE as error:
            log.info("watcher %s: %s", host, error)
    else:
        log.error("no watcher can have another server take over")
        return False
    began_s = time.monotonic()
    if not _until(lambda: _is_replaced(config, context, to), LEAVE_S):
        log.error("%s within %g s", f"{to} did not take over" if to else "nobody took over", LEAVE_S)
        return False
    log.info("another server is primary after %.1f s", time.monotonic() - began_s)
    return True


def _is_replaced(config: Config, context: ssl.SSLContext, to: str) -> bool:
    asked = [found[0] for host in sorted(config.watchers) if (found := _ask_once(config, host, context))]
    agreed = roles.named(asked, config.rules.majority)
    if agreed is None or agreed.primary_address == config.address:
        return False
    return not to or agreed.primary_address == config.members[to]


def _until(is_so: Callable[[], bool], limit_s: float) -> bool:
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if is_so():
            return True
        time.sleep(PAUSE_S)
    return False


def replace_file(path: Path, text: str) -> None:
    """Write it whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)
