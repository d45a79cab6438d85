"""Figures of what runs on this host, for those that watch the stack: a file that node_exporter hands out.

    measures --config FILE        run until told to stop

Every second it looks whether the processes of each instance are there, who holds which address and which role, which costs
reading a few files; when that changed, two seconds later, and every `look_s` seconds, it also asks the instances whether they
are healthy, as `nospof status` does, and writes the file anew; while one is not, it asks again sooner. What it could not find
out is left out, so that nobody takes an old figure for a new one; that nothing comes any more is seen by
nospof_measured_at_seconds.

Limits: the file is as old as `look_s`, and a probe that hangs counts as "not healthy" after 2 s. Units without processes, as
sockets, are asked of systemd once a minute, which costs more than everything else here.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nospof.onhost import units
from nospof.onhost.agent.ask import ask, read_note
from nospof.onhost.certificate_end import ends_at
from nospof.onhost.receipt import STATE, read_receipt
from nospof.onhost.watchdog import tell_systemd

TICK_S, PROBE_S, NFT_S, SYSTEMD_EVERY_S, AGENT_S = 1.0, 2.0, 5.0, 60.0, 1.0
# What changed is often not over yet: a server that just became primary has not told how it came to that. And who does not
# answer in time may be slow this once: it is looked at again so soon, and then after twice as long.
AGAIN_S = 2.0
# Of the changes of the primary so many are told: each is a series of its own.
MOST_CHANGES = 10
CGROUPS = Path("/sys/fs/cgroup/system.slice")
CERTIFICATES = Path("/etc/nospof/tls")
ROUTES = Path("/proc/net/fib_trie")
RECEIPT = STATE / "receipt.json"
FIREWALL = ("/usr/sbin/nft", "list", "chain", "inet", "nospof", "input")

log = logging.getLogger("nospof")

MEANINGS = {
    "nospof_instance_up": ("gauge", "Whether the instance's units run and it answers as healthy."),
    "nospof_instance_memory_bytes": ("gauge", "Memory of the instance's units, caches of files included."),
    "nospof_instance_cpu_seconds_total": ("counter", "Processor time of the instance's units since they started."),
    "nospof_vip_held": ("gauge", "Whether this host holds the VIP."),
    "nospof_firewall_in_force": ("gauge", "Whether the stack's firewall is there and drops what no link allows."),
    "nospof_certificate_ends_seconds": ("gauge", "When the certificate ends, in seconds since the epoch."),
    "nospof_takes_writes": ("gauge", "Whether this host's server of a tier with one primary is that one, and takes writes."),
    "nospof_database_takes_writes": ("gauge", "Whether this host's server is the primary and takes writes."),
    "nospof_database_fit_for_reads": ("gauge", "Whether this host's server may answer reads."),
    "nospof_database_fit_for_promotion": ("gauge", "Whether this host's server is a voter that could take over at once."),
    "nospof_database_lag_seconds": ("gauge", "How far the server is behind the primary, or cut off from it."),
    "nospof_database_term": ("counter", "How often the stack's primary was replaced."),
    "nospof_database_queries_per_second": ("gauge", "Statements of clients to this host's server."),
    "nospof_database_replaced_at_seconds": ("gauge", "When the primary changed, in seconds since the epoch; the last changes."),
    "nospof_measured_every_seconds": ("gauge", "Seconds between two looks while nothing changes."),
    "nospof_measured_at_seconds": ("gauge", "When all of this was last looked at, in seconds since the epoch."),
}
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Figure:
    """One line: `name`, its labels and value. `told`: kind and meaning of what is no key of MEANINGS."""

    name: str
    value: float
    labels: Labels = ()
    told: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Config:
    look_s: float
    file: str
    vips: Mapping[str, str]
    """Virtual IP addresses by name."""
    has_firewall: bool
    agents: Mapping[str, str]
    """Instance → socket of its agent, beside which its note lies."""
    notes: Mapping[str, str]
    """Instance → note of its agent, which says whether its server takes writes."""
    figures: Mapping[str, Sequence[str]]
    """Instance → command that prints figures of its own."""
    not_asked: Sequence[str]
    """Instances whose probes are not run."""


def main(argv: list[str]) -> int:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="measures")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        config = Config(**json.loads(arguments.config.read_text()))
    except (OSError, TypeError, ValueError) as error:
        log.error("cannot run: %s: %s", type(error).__name__, error)
        return 1
    return Measuring(config).run()


class Measuring:
    """The loop. `certificates` are read again only when their file changed."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._ends: dict[Path, tuple[int, float]] = {}
        self._receipt: tuple[int, dict[str, dict[str, Any]]] = (-1, {})
        self._said: dict[str, bool] = {}
        self._said_until_s = 0.0

    def run(self) -> int:
        """Look and write, until SIGTERM."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        seen: dict[str, bool] = {}
        led: tuple[object, ...] = ()
        next_s = again_s = 0.0
        while True:
            tell_systemd("WATCHDOG=1")
            instances = self._instances()
            alive = {name: has_processes(name) for entry in instances.values() for name in entry["units"]}
            leads = self._leads()
            has_changed = (alive, leads) != (seen, led)
            if has_changed or time.monotonic() >= next_s:
                if alive != seen:
                    self._said_until_s = 0.0
                seen, led = alive, leads
                found = list(self.figures(instances, alive))
                write(Path(self.config.file), text(found))
                is_well = all(figure.value for figure in found if figure.name == "nospof_instance_up")
                again_s = next_look_s(again_s, self.config.look_s, has_changed=has_changed, is_well=is_well)
                next_s = time.monotonic() + again_s
            if signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, TICK_S) is not None:
                return 0

    def figures(self, instances: Mapping[str, Mapping[str, Any]], alive: Mapping[str, bool]) -> Iterator[Figure]:
        """Everything that can be found out now."""
        yield from health(instances, self._runs(alive), self.config.not_asked)
        for name, entry in sorted(instances.items()):
            yield from used(name, entry["units"])
        held = held_addresses(ROUTES.read_text())
        for name, address in sorted(self.config.vips.items()):
            yield Figure("nospof_vip_held", address in held, (("name", name), ("address", address)))
        if self.config.has_firewall:
            yield from firewall()
        yield from self._certificates()
        for name, socket in sorted(self.config.agents.items()):
            yield from database(tier_of(name), read_note(_note(socket), time.monotonic()))
            yield from told_by_agent(tier_of(name), ask(Path(socket), {"do": "status"}, AGENT_S))
        yield Figure("nospof_measured_every_seconds", self.config.look_s)
        for name, path in sorted(self.config.notes.items()):
            yield Figure("nospof_takes_writes", takes_writes(path), (("tier", tier_of(name)),))
        yield from own_figures(self.config.figures)
        yield Figure("nospof_measured_at_seconds", time.time())

    def _leads(self) -> tuple[object, ...]:
        """Who this host is for others now: the addresses it holds, the roles of its servers. It changes as soon as one does."""
        held = held_addresses(ROUTES.read_text()) & set(self.config.vips.values())
        notes = [read_note(_note(socket), time.monotonic()) or {} for _, socket in sorted(self.config.agents.items())]
        writing = [takes_writes(path) for _, path in sorted(self.config.notes.items())]
        return (held, *writing, *((note.get("role"), note.get("takes_writes"), note.get("term")) for note in notes))

    def _runs(self, alive: Mapping[str, bool]) -> dict[str, bool]:
        """Which units run: those with processes, and of the others those of which systemd says so."""
        if time.monotonic() >= self._said_until_s:
            self._said = without_processes(unit for unit, is_alive in alive.items() if not is_alive)
            self._said_until_s = time.monotonic() + SYSTEMD_EVERY_S
        return {unit: is_alive or self._said.get(unit, False) for unit, is_alive in alive.items()}

    def _instances(self) -> dict[str, dict[str, Any]]:
        """What nospof last applied here: {"web/web1": {"units": names, "probes": commands}}. Read when it changed."""
        try:
            changed = RECEIPT.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        if self._receipt[0] != changed:
            self._receipt = (changed, {name: dict(entry) for name, entry in read_receipt().instances.items()})
        return self._receipt[1]

    def _certificates(self) -> Iterator[Figure]:
        for path in sorted([*CERTIFICATES.glob("*.crt"), *CERTIFICATES.glob("ca.pem")]):
            try:
                changed = path.stat().st_mtime_ns
                if self._ends.get(path, (0, 0.0))[0] != changed:
                    self._ends[path] = (changed, ends_at(path))
            except (OSError, ValueError) as error:
                log.warning("%s: %s", path, error)
                continue
            labels = (("tier", path.stem), ("path", str(path)))
            yield Figure("nospof_certificate_ends_seconds", self._ends[path][1], labels)


def next_look_s(before_s: float, look_s: float, *, has_changed: bool, is_well: bool) -> float:
    """Seconds until the next look, `before_s` those until this one. Pure."""
    if has_changed:
        return min(AGAIN_S, look_s)
    if is_well:
        return look_s
    return min(AGAIN_S if before_s >= look_s else 2 * before_s, look_s)


# --- instances -----------------------------------------------------------------------------------------------------------
def tier_of(instance: str) -> str:
    return instance.partition("/")[0]


def has_processes(unit: str) -> bool:
    """Whether the unit has processes, as the kernel tells; False for those that never have any."""
    try:
        return "populated 1" in (CGROUPS / unit / "cgroup.events").read_text()
    except OSError:
        return False


def without_processes(names: Iterable[str]) -> dict[str, bool]:
    """Whether systemd says of these units that they are as they should be: sockets, and what has done its work and ended."""
    try:
        return {name: state.is_running or state.is_skipped for name, state in units.states(names).items()}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        log.warning("systemctl: %s", error)
        return {}


def health(instances: Mapping[str, Mapping[str, Any]], runs: Mapping[str, bool], not_asked: Iterable[str]) -> Iterator[Figure]:
    """For each instance whether all its units run and all its probes say yes."""
    asked = {
        name: [tuple(probe) for probe in entry["probes"]]
        for name, entry in instances.items()
        if name not in set(not_asked) and all(runs[unit] for unit in entry["units"])
    }
    well = probed([probe for probes in asked.values() for probe in probes])
    for name, entry in sorted(instances.items()):
        is_up = all(runs[unit] for unit in entry["units"]) and all(well[probe] for probe in asked.get(name, ()))
        yield Figure("nospof_instance_up", is_up, (("tier", tier_of(name)),))


def probed(probes: Iterable[tuple[str, ...]], limit_s: float = PROBE_S) -> dict[tuple[str, ...], bool]:
    """Run all commands at once; whether each ended with 0 within `limit_s` seconds."""
    started: dict[tuple[str, ...], subprocess.Popen[bytes] | None] = {}
    for argv in probes:
        if argv not in started:
            started[argv] = _started(argv)
    end_s = time.monotonic() + limit_s
    return {argv: process is not None and _ended_well(process, end_s) for argv, process in started.items()}


def _started(argv: tuple[str, ...], stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes] | None:
    quiet = subprocess.DEVNULL
    try:
        return subprocess.Popen(argv, stdin=quiet, stdout=stdout, stderr=quiet, start_new_session=True)
    except OSError:
        return None


def _ended_well(process: subprocess.Popen[bytes], end_s: float) -> bool:
    try:
        return process.wait(max(0.01, end_s - time.monotonic())) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def used(instance: str, names: Iterable[str]) -> Iterator[Figure]:
    """What the instance's units use, as the kernel counts it; nothing where it does not."""
    memory = [value for name in names if (value := _counted(CGROUPS / name / "memory.current", "")) is not None]
    cpu = [value for name in names if (value := _counted(CGROUPS / name / "cpu.stat", "usage_usec ")) is not None]
    labels = (("tier", tier_of(instance)),)
    if memory:
        yield Figure("nospof_instance_memory_bytes", sum(memory), labels)
    if cpu:
        yield Figure("nospof_instance_cpu_seconds_total", sum(cpu) / 1e6, labels)


def _counted(path: Path, begins: str) -> int | None:
    try:
        line = next(line for line in path.read_text().splitlines() if line.startswith(begins))
        return int(line.removeprefix(begins))
    except (OSError, ValueError, StopIteration):
        return None


# --- the host ------------------------------------------------------------------------------------------------------------
def held_addresses(routes: str) -> set[str]:
    """The addresses that are this host's own, from the kernel's table /proc/net/fib_trie. Pure."""
    found, last = set(), ""
    for line in routes.splitlines():
        mark, _, rest = line.strip().partition(" ")
        if mark == "|--":
            last = rest
        elif "host LOCAL" in line:
            found.add(last)
    return found


def firewall() -> Iterator[Figure]:
    """Nothing where nft itself could not be asked."""
    try:
        done = units.run(list(FIREWALL), NFT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("nft: %s", error)
        return
    yield Figure("nospof_firewall_in_force", done.returncode == 0 and "policy drop" in done.stdout)


def database(tier: str, note: Mapping[str, Any] | None) -> Iterator[Figure]:
    """What the agent's note says, unless it is missing or too old to be true: then nobody here is fit for anything."""
    labels = (("tier", tier),)
    is_true = note is not None and note["age_s"] <= note.get("valid_for_s", 0.0)
    told: Mapping[str, Any] = note if note is not None and is_true else {}
    details: Mapping[str, Any] = told.get("details", {})
    is_copy = told.get("role") == "replica" and not details.get("is_witness")
    yield Figure("nospof_database_takes_writes", bool(told.get("takes_writes")), labels)
    yield Figure("nospof_database_fit_for_reads", bool(told.get("fit_for_reads")), labels)
    is_fit = is_copy and bool(told.get("is_healthy")) and bool(details.get("is_voter"))
    yield Figure("nospof_database_fit_for_promotion", is_fit, labels)
    if details.get("lag_s") is not None:
        yield Figure("nospof_database_lag_seconds", details["lag_s"], labels)
    if "term" in told:
        yield Figure("nospof_database_term", told["term"], labels)


def told_by_agent(tier: str, answer: Mapping[str, Any]) -> Iterator[Figure]:
    """What the agent itself answers beside its note: nothing where it does not, or counts nothing."""
    if answer.get("qps") is not None:
        yield Figure("nospof_database_queries_per_second", answer["qps"], (("tier", tier),))
    changes = [change for change in answer.get("history") or () if change.get("from")]
    for change in changes[:MOST_CHANGES]:
        names = ("term", "from", "to", "cause", "loss")
        labels = (("tier", tier), *((name, str(change.get(name, ""))) for name in names))
        yield Figure("nospof_database_replaced_at_seconds", change["at"], labels)


def _note(socket: str) -> Path:
    """Where an agent writes what may be told of its server."""
    return Path(socket).with_name("note.json")


def takes_writes(path: str) -> bool:
    """What the note says, unless it is missing or too old to be true."""
    note = read_note(Path(path), time.monotonic())
    return note is not None and note["age_s"] <= note.get("valid_for_s", 0.0) and bool(note.get("takes_writes"))


# --- what components tell themselves -------------------------------------------------------------------------------------
def own_figures(commands: Mapping[str, Sequence[str]], limit_s: float = PROBE_S) -> Iterator[Figure]:
    """What these commands print, all at once; nothing of those that do not end well within `limit_s` seconds."""
    started = {name: _started(tuple(argv), subprocess.PIPE) for name, argv in sorted(commands.items())}
    end_s = time.monotonic() + limit_s
    for name, process in started.items():
        said = _said(process, end_s)
        try:
            told = json.loads(said) if said else {}
            yield from [
                Figure(figure, float(value), (("tier", tier_of(name)),), (str(kind), str(meaning)))
                for figure, (kind, meaning, value) in sorted(told.items())
            ]
        except (AttributeError, TypeError, ValueError) as error:
            log.warning("figures of %s: %s", name, error)


def _said(process: subprocess.Popen[bytes] | None, end_s: float) -> bytes:
    if process is None:
        return b""
    try:
        said, _ = process.communicate(timeout=max(0.01, end_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return b""
    return said if process.returncode == 0 else b""


# --- the file ------------------------------------------------------------------------------------------------------------
def text(figures: Iterable[Figure]) -> str:
    """The figures in Prometheus' text format, each name with what it means. Pure."""
    by_name: dict[str, list[Figure]] = {}
    for figure in figures:
        by_name.setdefault(figure.name, []).append(figure)
    lines = []
    for name, group in sorted(by_name.items()):
        kind, meaning = MEANINGS.get(name, group[0].told)
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *(_line(figure) for figure in group)]
    return "\n".join(lines) + "\n"


def _line(figure: Figure) -> str:
    labels = ",".join(f"{key}={json.dumps(value)}" for key, value in figure.labels)
    return f"{figure.name}{{{labels}}} {float(figure.value):.15g}" if labels else f"{figure.name} {float(figure.value):.15g}"


def write(path: Path, content: str) -> None:
    """Replace the file at once, so that nobody reads a half one."""
    new = path.with_suffix(".new")
    new.write_text(content)
    new.rename(path)
