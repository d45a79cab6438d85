"""The agent beside the servers of a tier of shards: it has each of them become what the plan says, and stay it.

    cache_cluster --config FILE run          until SIGTERM
    cache_cluster --config FILE start N      before server N of this host starts: wait until a copy has its place, if it had one
    cache_cluster --config FILE leave N      before it stops: hand the role over, if it has it and somebody can take it
    cache_cluster --config FILE health       exit 0 while all servers of this host are as well as they can be
    cache_cluster --config FILE figures      print what those that watch the stack want to know
    cache_cluster --config FILE passwords    have the servers take the passwords in the files
    cache_cluster --config FILE loaded       exit 0 when they take them

Who takes over from a lost primary is agreed on by the servers themselves; what follows from what is seen is decided in
nospof.onhost.cache_cluster_plan; slots are moved by the product's own program. Source: https://valkey.io/topics/cluster-tutorial/,
https://valkey.io/commands/cluster-failover/, https://redis.io/docs/latest/develop/tools/cli/ ("--cluster reshard").
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from nospof.onhost import cache_cluster_plan as plans
from nospof.onhost import cache_passwords
from nospof.onhost.cache_agent import Line, Process, mend_log, replace_file
from nospof.onhost.cache_cluster_plan import Command, Node, Place, Plan, TakeSlots, View, nodes_of
from nospof.onhost.resp import Connection, Refused, client_context
from nospof.onhost.resp import Place as Reached
from nospof.onhost.threads import run_beside
from nospof.onhost.watchdog import tell_systemd

LOOK_EVERY_S, ASK_S, MEET_EVERY_S, CONNECT_S = 0.25, 0.5, 1.0, 0.3
# A home takes its shard back after so long without a stir; so long is nothing moved either, and a try is not repeated.
CALM_S = 5.0
LEAVE_S, NOTE_S, FIGURES_S = 6.0, 3.0, 0.5
# Slots that are moved in one go: an interruption costs no more. They take ten seconds; what takes a minute may hang, and what
# was moved until then stays moved.
AT_ONCE, MOVE_S = 512, 60.0
# Else it waits minutes for a host that has just gone dark.
CLI_CONNECT_S = 3
TROUBLE = (OSError, ValueError, Refused)

log = logging.getLogger("nospof")


def main(argv: list[str]) -> int:
    """Do what is asked; 1 when it cannot be done, with the reason as a line of the log."""
    parser = argparse.ArgumentParser(prog="cache_cluster")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("question", choices=("run", "start", "leave", "health", "figures", "passwords", "loaded"))
    parser.add_argument("number", type=int, nargs="?", default=0)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        config = read_config(arguments.config)
        asked: Mapping[str, Callable[[], int]] = {
            "run": lambda: run(config),
            "start": lambda: start(config, arguments.number),
            "leave": lambda: leave(config, arguments.number),
            "health": lambda: health(config),
            "figures": lambda: figures(config),
            "passwords": lambda: passwords(config, may_change=True),
            "loaded": lambda: passwords(config, may_change=False),
        }
        return asked[arguments.question]()
    except (*TROUBLE, TypeError) as error:
        log.error("%s: %s: %s", arguments.question, type(error).__name__, error)
    return 1


# --- what it is told -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Config:
    """`ring`: by host, the address, in the plan's order. Server number N of each host is at `port` + N and `bus_port` + N.

    `data_folder` is that of the home, followed by "-0"; the others' differ in the number.
    """

    tier: str
    host: str
    ring: Mapping[str, str]
    copies: int
    port: int
    bus_port: int
    folder: str
    run_folder: str
    data_folder: str
    replaced_s: float
    cli: str
    log_checker: str
    ca: str
    certificate: str
    key: str

    @cached_property
    def plan(self) -> Plan:
        return Plan(tuple(self.ring.values()), self.copies, self.bus_port)

    @property
    def address(self) -> str:
        return self.ring[self.host]

    @property
    def numbers(self) -> range:
        return range(self.copies + 1)

    @property
    def password(self) -> str:
        """The present one: read each time, since other ones are no reason to begin anew. Raises OSError or ValueError."""
        return str(json.loads(Path(self.folder, "passwords.json").read_text())["agent"])

    def own(self, number: int) -> Reached:
        """A server of this host, over its socket."""
        return Reached(path=f"{self.run_folder}/server-{number}.sock", user="nospof_agent", password=self.password)

    def other(self, address: str, port: int) -> Reached:
        """Any server, over the network: certificates have addresses, too."""
        return Reached(address, address, port, user="nospof_agent", password=self.password)

    def data(self, number: int) -> Path:
        return Path(f"{self.data_folder}-{number}")

    @property
    def note(self) -> Path:
        return Path(self.run_folder, "note.json")

    @property
    def context(self) -> ssl.SSLContext:
        return client_context(self.ca, self.certificate, self.key)


def read_config(path: Path) -> Config:
    """Read what the component wrote. Raises OSError, TypeError or ValueError if it is missing or wrong."""
    return Config(**json.loads(path.read_text()))


# --- asking --------------------------------------------------------------------------------------------------------------
def fields_of(text: str) -> dict[str, str]:
    """The fields of an answer to INFO or CLUSTER INFO. Pure."""
    return dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)


def cluster_nodes(connection: Connection) -> tuple[Node, ...]:
    """Who a server sees. Raises as `Connection.ask`."""
    return nodes_of(str(connection.ask("CLUSTER", "NODES")))


def _seen(connection: Connection) -> tuple[tuple[Node, ...], bool, bool]:
    """Its nodes, whether its cluster answers, and whether it has what its primary has."""
    copy = fields_of(str(connection.ask("INFO", "replication")))
    is_in_step = copy.get("role") != "slave" or (copy.get("master_link_status"), copy.get("master_sync_in_progress")) == (
        "up",
        "0",
    )
    whole = fields_of(str(connection.ask("CLUSTER", "INFO")))
    return cluster_nodes(connection), whole.get("cluster_state") == "ok", is_in_step


@dataclass
class Server:
    """One server of this host, as its agent knows it. `silent_since_s`: since when it gives no answer; None: it does."""

    config: Config
    number: int
    line: Line
    view: View | None = None
    process: Process | None = None
    silent_since_s: float | None = None
    calm_since_s: float = field(default_factory=time.monotonic)
    unmet: dict[Place, bool] = field(default_factory=dict)
    marks: dict[Place, str] = field(default_factory=dict)

    @property
    def me(self) -> Place:
        return self.config.address, self.number

    def look(self) -> None:
        """Ask it what it sees."""
        try:
            nodes, is_ok, is_in_step = self.line.ask(_seen)
            view = View(self.me, self.config.plan, nodes, is_ok, is_in_step)
            self.view = replace(view, unmet=self._unmet(view), marks=self.marks)
            self.silent_since_s = None
            if self.process is None or not self.process.is_there():
                told = fields_of(str(self.line.ask(lambda connection: connection.ask("INFO", "server"))))
                self.process = Process.of(int(told["process_id"]))
        except (*TROUBLE, StopIteration, KeyError):
            self.view = None
            self.silent_since_s = self.silent_since_s or time.monotonic()

    def _unmet(self, view: View) -> dict[Place, bool]:
        """Whom it does not know, by whether somebody answered there when that was looked at last, or it was not yet."""
        # While `up` changes the ports, those that have the old ones are met.
        moving = {node.address for node in view.strangers if node.is_well}
        missing = [place for place in self.config.plan.places if place not in view.at and place[0] not in moving]
        return {place: self.unmet.get(place, True) for place in missing}


def _listens(at: tuple[str, int]) -> bool:
    try:
        socket.create_connection(at, CONNECT_S).close()
    except OSError:
        return False
    return True


# --- run -----------------------------------------------------------------------------------------------------------------
class Agent:
    """Looks, decides, acts."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.servers = [Server(config, n, Line(lambda n=n: config.own(n), None, ASK_S)) for n in config.numbers]  # type: ignore[misc]
        self.mover = Mover(config)
        self._said: list[str] = []
        self._next_meeting_s = 0.0

    def step(self) -> None:
        """One look and what follows from it."""
        now_s = time.monotonic()
        for server in self.servers:
            server.look()
        if is_time := now_s >= self._next_meeting_s:
            self._next_meeting_s = now_s + MEET_EVERY_S
            self._meet()
        for server in self.servers:
            if server.view is not None:
                self._act(server, server.view, now_s)
            elif self._is_frozen(server, now_s) and server.process is not None:
                log.info("kills server %d, which is frozen and was replaced: it must not go on as primary", server.number)
                os.kill(server.process.pid, signal.SIGKILL)
                server.process = None
        if is_time:  # after own servers were told the plan: they hear each other no sooner than the rest
            self._hear()
        self._move(now_s)
        self._tell()

    def _meet(self) -> None:
        """See who of those that a server has not met is there, all at once: a dark host answers nobody."""
        missing = sorted({place for server in self.servers if server.view is not None for place in server.view.unmet})
        with ThreadPoolExecutor(max(1, len(missing))) as pool:
            at = [(address, self.config.port + number) for address, number in missing]
            there = dict(zip(missing, pool.map(_listens, at), strict=True))
        for server in self.servers:
            server.unmet = there
        home = self.servers[0]
        wanted = home.view.unmet if home.view is not None else ()
        for address, number in [place for place in wanted if there[place]]:
            ports = self.config.port + number, self.config.bus_port + number
            self._say(home, Command(("CLUSTER", "MEET", address, *map(str, ports)), f"meets {address}"))

    def _hear(self) -> None:
        """Ask those who seem to have another plan which one they have, all at once.

        Incident: the last host of an `up` had not heard yet that the others had its plan, took them for some that were still to
        get it, and passed for well. So a host that was taken out of the stack was taken away with its shard.
        """
        at: dict[Place, int] = {}
        for server in self.servers:
            if server.view is not None and server.view.behind:
                ports = _ports(self.config, server.number)
                at |= {place: ports.get(node.id) or self.config.port + place[1] for place, node in server.view.behind.items()}
        with ThreadPoolExecutor(max(1, len(at))) as pool:
            marks = dict(zip(at, pool.map(self._mark_of, at, at.values()), strict=True))
        for server in self.servers:
            server.marks = marks

    def _mark_of(self, place: Place, port: int) -> str:
        """Which plan the server there says that it has; "" = it does not answer."""
        try:
            with Connection(self.config.other(place[0], port), self.config.context, ASK_S) as connection:
                return next((node.mark for node in cluster_nodes(connection) if "myself" in node.flags), "")
        except TROUBLE:
            return ""

    def _act(self, server: Server, view: View, now_s: float) -> None:
        decided = plans.next_command(view)
        if isinstance(decided, TakeSlots):
            self._take(server, decided.slots)
        elif decided is not None:
            self._say(server, decided)
        if not plans.may_take_back(view):
            server.calm_since_s = now_s
        elif now_s - server.calm_since_s > CALM_S:
            server.calm_since_s = now_s
            self._say(server, Command(("CLUSTER", "FAILOVER"), "takes its shard back"))

    def _say(self, server: Server, command: Command) -> None:
        try:
            server.line.ask(lambda connection: connection.ask(*command.words))
            log.info("server %d %s", server.number, command.says)
        except TROUBLE as error:
            log.info("server %d %s: %s", server.number, command.says, error)

    def _take(self, server: Server, wanted: frozenset[int]) -> None:
        """Slots of which nobody knows an owner. All others are asked: one that is new here may not have heard of everybody."""
        context = self.config.context
        for place in [place for place in self.config.plan.places if place != server.me]:
            try:
                with Connection(self.config.other(place[0], self.config.port + place[1]), context, ASK_S) as connection:
                    wanted = wanted.difference(*(node.slots for node in cluster_nodes(connection)))
            except TROUBLE as error:
                log.info(
                    "server %d does not take slots yet: %s does not say whose they are: %s", server.number, place[0], error
                )
                return
        if wanted:
            words = [str(end) for run in plans.ranges(wanted) for end in run]
            self._say(server, Command(("CLUSTER", "ADDSLOTSRANGE", *words), f"takes {len(wanted)} slots that nobody has"))

    def _is_frozen(self, server: Server, now_s: float) -> bool:
        """Whether it has given no answer for long, though its process is there, and the others have replaced it."""
        if server.process is None or not server.process.is_there() or server.silent_since_s is None:
            return False
        views = [other.view for other in self.servers if other.view is not None]
        place = (self.config.address, self.config.bus_port + server.number)
        seen = [(view, node) for view in views for node in view.nodes if (node.address, node.bus_port) == place]
        return now_s - server.silent_since_s > ASK_S and any(plans.is_replaced(view.nodes, node.id) for view, node in seen)

    def _move(self, now_s: float) -> None:
        view = self.servers[0].view
        wanted = plans.moves(view) if view is not None and plans.leads_moves(view) else ()
        self.mover.wants(wanted, now_s)

    def _tell(self) -> None:
        found = {server.number: list(_lacks(server)) for server in self.servers}
        lacks = [f"server {number} {text}" for number, texts in found.items() for text in texts]
        if lacks != self._said:
            self._said = lacks
            for text in lacks or ["all servers are as they should be"]:
                log.info("%s", text)
        home = self.servers[0].view
        unserved = plans.SLOTS - len(plans.served(home)) if home is not None else None
        note = {
            "at": time.monotonic(),
            "plan": self.config.plan.mark,
            "lacks": lacks,
            "servers_lacking": sum(map(bool, found.values())),
            "slots_unserved": unserved,
        }
        replace_file(self.config.note, json.dumps(note) + "\n")


def _lacks(server: Server) -> Iterator[str]:
    if server.view is None:
        yield "does not answer"
    else:
        yield from plans.lacks(server.view)


class Mover:
    """Has slots moved by the product's own program, in a thread of its own: that takes a while."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._wanted: tuple[plans.Moves, ...] = ()
        self._calm_since_s = time.monotonic()
        self._begin = threading.Event()

    def wants(self, moves: tuple[plans.Moves, ...], now_s: float) -> None:
        """Told at each look; nothing begins before it was the same for a while."""
        if moves != self._wanted or not moves:
            self._wanted, self._calm_since_s = moves, now_s
            self._begin.clear()
        elif now_s - self._calm_since_s > CALM_S:
            self._begin.set()

    def keep_moving(self) -> None:
        """Move for ever what is wanted."""
        while True:
            self._begin.wait()
            problem = next((said for move in self._wanted if (said := self._move(move))), "")
            if problem:
                # A slot that is half moved would be in the way of all others.
                after = self._cli("fix", "--cluster-yes") or "what was half done is mended"
                log.warning("slots were not moved: %s; %s", problem, after)
            self._begin.clear()

    def _move(self, move: plans.Moves) -> str:
        """What went wrong; "" if nothing did."""
        count = move.count
        log.info("%d slots move to another server", count)
        while count > 0:
            now = min(count, AT_ONCE)
            options = {"from": move.source, "to": move.target, "slots": str(now), "pipeline": "100"}
            words = [word for name, value in options.items() for word in (f"--cluster-{name}", value)]
            if problem := self._cli("reshard", *words, "--cluster-yes"):
                return problem
            count -= now
        return ""

    def _cli(self, command: str, *words: str) -> str:
        """What went wrong; "" if nothing did."""
        config = self._config
        tls = ("--tls", "--cacert", config.ca, "--cert", config.certificate, "--key", config.key)
        at, as_agent = f"{config.address}:{config.port}", ("--user", "nospof_agent", "--no-auth-warning")
        try:
            done = subprocess.run(
                [config.cli, *tls, "-t", str(CLI_CONNECT_S), *as_agent, "--cluster", command, at, *words],
                env={"REDISCLI_AUTH": config.password, "PATH": "/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=MOVE_S,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            return f"{type(error).__name__}: {error}"
        return "" if done.returncode == 0 else reason(done.stdout + done.stderr) or f"exit code {done.returncode}"


def reason(said: str) -> str:
    """The error in what the product's program has said. Pure."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in said.splitlines()]
    errors = [line for line in lines if re.match(r"\[?ERR|NOPERM|\*\*\*|Could not|.*failed", line)]
    return "; ".join((errors or [line for line in lines if line])[:2])


def run(config: Config) -> NoReturn:
    """Be the agent until SIGTERM."""
    threading.stack_size(256 * 1024)
    agent = Agent(config)
    run_beside(agent.mover.keep_moving)
    while True:
        began_s = time.monotonic()
        agent.step()
        tell_systemd("WATCHDOG=1")
        time.sleep(max(0.01, began_s + LOOK_EVERY_S - time.monotonic()))


# --- start ---------------------------------------------------------------------------------------------------------------
def start(config: Config, number: int) -> int:
    """Wait while a copy is about to take the place that this server had when it died; for a while, since none may."""
    nodes = _kept(config.data(number))
    me = next((node for node in nodes if "myself" in node.flags), None)
    if me is not None and _is_forgotten(config, nodes, me.id):
        log.info("the others know nothing of this server: it left them once; what it kept is old, and is removed")
        _empty(config.data(number))
        me, nodes = None, ()
    own = me if me is not None and me.slots and not me.primary else None
    began_s, has_said = time.monotonic(), False
    while own is not None and time.monotonic() - began_s < config.replaced_s and _waits(config, nodes, own.id):
        if not has_said:
            log.info("waits to be replaced")
            has_said = True
        time.sleep(LOOK_EVERY_S)
    mend_log(Path(config.run_folder, f"refused-{number}"), config.data(number), config.log_checker, is_copy=own is None)
    return 0


def _kept(folder: Path) -> tuple[Node, ...]:
    """Whom a server knew last, with the ports where they are asked; () where it is new."""
    try:
        return nodes_of((folder / "nodes.conf").read_text())
    except (OSError, ValueError):
        return ()


def _ports(config: Config, number: int) -> dict[str, int]:
    """By id, where others are asked: over its socket a server does not say it; its file does, while `up` changes ports, too."""
    return {node.id: node.port for node in _kept(config.data(number))}


def _waits(config: Config, nodes: Iterable[Node], own_id: str) -> bool:
    """Whether most of those who answer say so."""
    places = [(node.address, node.port) for node in nodes if node.id != own_id and node.port]
    said = [plans.waits_for(seen, own_id) for seen in _heard(config, places)]
    return sum(said) > len(said) // 2


def _is_forgotten(config: Config, nodes: Iterable[Node], own_id: str) -> bool:
    """Asked is the home of each of the others, at the port that it has, or had while `up` changes it: one voice a host."""
    others = [address for address in config.ring.values() if address != config.address]
    homes = [node for node in nodes if node.address in others and node.bus_port == config.bus_port and node.port]
    places = {(address, config.port) for address in others} | {(node.address, node.port) for node in homes}
    return plans.is_forgotten(_heard(config, sorted(places)), own_id, len(others))


def _heard(config: Config, places: Iterable[tuple[str, int]]) -> list[tuple[Node, ...]]:
    """What those see who answer there."""
    context, heard = config.context, []
    for address, port in places:
        with contextlib.suppress(*TROUBLE), Connection(config.other(address, port), context, ASK_S) as connection:
            heard.append(cluster_nodes(connection))
    return heard


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


# --- leave ---------------------------------------------------------------------------------------------------------------
def leave(config: Config, number: int) -> int:
    """Have a copy take the role of this server, which then copies it; 1 where none did, and all is as it was."""
    context = config.context
    with Connection(config.own(number), None, ASK_S) as server:
        nodes = cluster_nodes(server)
        own = next(node for node in nodes if "myself" in node.flags)
        if own.primary or not own.slots:
            return 0
        copies = [node for node in nodes if node.primary == own.id and node.is_well]
        ports = _ports(config, number)
        # The home first: it is where the shard belongs.
        for copy in sorted(copies, key=lambda node: node.bus_port):
            try:
                with Connection(config.other(copy.address, ports.get(copy.id, 0)), context, ASK_S) as other:
                    other.ask("CLUSTER", "FAILOVER")
            except TROUBLE as error:
                log.info("%s does not take over: %s", copy.address, error)
                continue
            end_s = time.monotonic() + LEAVE_S
            while time.monotonic() < end_s:
                if next(node for node in cluster_nodes(server) if "myself" in node.flags).primary:
                    log.info("%s has taken over", copy.address)
                    return 0
                time.sleep(0.05)
    log.error("nobody took over")
    return 1


# --- health and figures --------------------------------------------------------------------------------------------------
def health(config: Config) -> int:
    """As the agent wrote it last."""
    note = read_note(config)
    for text in note["lacks"]:
        log.error("%s", text)
    return 1 if note["lacks"] else 0


def read_note(config: Config) -> dict[str, Any]:
    """Raises OSError, ValueError where there is none, or one that is too old or of the plan before."""
    note: dict[str, Any] = json.loads(config.note.read_text())
    if time.monotonic() - note["at"] > NOTE_S or note["plan"] != config.plan.mark:
        raise ValueError("the agent has not looked for a while")
    return note


Figures = dict[str, tuple[str, str, float]]


def figures(config: Config) -> int:
    """What is not found out is left out."""
    told = []
    for number in config.numbers:
        with contextlib.suppress(*TROUBLE), Connection(config.own(number), None, FIGURES_S) as server:
            told.append(fields_of(str(server.ask("INFO", "everything"))))
    found = server_figures(told)
    with contextlib.suppress(OSError, ValueError):
        note = read_note(config)
        for name, meaning in {
            "servers_lacking": "Servers of the host that are not as planned.",
            "slots_unserved": "Slots whose entries nobody answers for, as this host sees it.",
        }.items():
            if isinstance(value := note[name], int):
                found[f"cache_cluster_{name}"] = ("gauge", meaning, float(value))
    sys.stdout.write(json.dumps(found))
    return 0


def server_figures(told: list[dict[str, str]]) -> Figures:
    """Of all servers of a host, from their own fields. Pure."""

    def share(used: str, of: str) -> float:
        return max((float(one.get(used, 0)) / float(one[of]) for one in told if float(one.get(of, 0))), default=0.0)

    def total(*names: str) -> float:
        return sum(float(one.get(name, 0)) for one in told for name in names)

    if not told:
        return {}
    memory, connections = share("used_memory", "maxmemory"), share("connected_clients", "maxclients")
    primaries = sum(one.get("role") == "master" for one in told)
    return {
        "cache_cluster_memory_used_share": ("gauge", "Of the fullest server, of its memory for entries.", memory),
        "cache_cluster_connections_used_share": ("gauge", "Of the busiest server, of what it takes.", connections),
        "cache_cluster_evicted_total": ("counter", "Entries thrown away to make room.", total("evicted_keys")),
        "cache_cluster_asked_total": ("counter", "Entries asked for.", total("keyspace_hits", "keyspace_misses")),
        "cache_cluster_primaries": ("gauge", "Shards that a server of this host is primary of.", float(primaries)),
    }


# --- passwords -----------------------------------------------------------------------------------------------------------
def passwords(config: Config, *, may_change: bool) -> int:
    """Each server of the host; 1 where one does not take them."""
    done = [cache_passwords.bring(config.own(number), Path(config.folder), may_change=may_change) for number in config.numbers]
    return max(done)
