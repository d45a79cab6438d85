"""Find how many requests a second a running stack answers, as a whole and one instance at a time.

Open loop: requests begin at fixed times whatever the answers do, latency counts from the intended begin, what could not be sent
has failed (nospof.drills.workloads.http_get). Only GET is sent, so that nothing is changed; nothing is switched or drained, so
that an interrupted run leaves nothing to heal: the load ends with us, or by itself after some seconds.

Limits: one path, reads only, one process as load, hosts in the lab.
"""

from __future__ import annotations

import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nospof.analysis.capacity import capacities
from nospof.analysis.measured import Figure, Machine, Measured, fingerprint
from nospof.apply.rollout import Progress
from nospof.deployment import Deployment, Status
from nospof.drills.workloads.http_get import History, Load, read_history, running
from nospof.errors import Failed, Uncertain, WrongInput
from nospof.measuring.knee import Knee, Step, find_knee
from nospof.measuring.ways import Way, only_behind, way_in, ways_to_instances
from nospof.topology import InstanceId, Rank

START_QPS = 20.0
# Connections are opened in the first moment of a load, which visitors' browsers do not all do at once.
WARM_UP_S = 1.0
# What a rate that was too high has left in queues is gone by then.
REST_S = 1.0
SHARE = 0.99
# A load process that used so much of a core could not have asked for more.
BUSY = 0.85
# On a busy machine hosts may answer too late for a status, and well a moment later.
WELL_WITHIN_S = 20.0
# What answers later than this counts as failed long before.
SHORTEST_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Aim:
    """What counts as answered, and how it is asked. `path` "": that of the stack's first site."""

    p99_s: float = 0.2
    seconds: float = 4.0
    """How long each rate is kept up."""
    most_qps: float = 2000.0
    connections: int = 50
    """Kept open and used in turn; more are opened while all are busy."""
    path: str = ""


@dataclass(frozen=True)
class Said:
    """Who hears how it goes on: what is asked now, each rate that was tried, what was found."""

    begins: Callable[[str], None]
    step: Callable[[Step], None]
    found: Callable[[Knee], None]


def measure(site: Deployment, aim: Aim, said: Said, progress: Progress) -> Measured:
    """Measure `site`, write the figures down for `check`, and return them.

    Raises WrongInput for a stack that nobody can visit, Failed when it is not whole, not as its file says, or answers nothing
    in time, Uncertain when a load did not come to its end. Nothing is written then.
    """
    entrance = site.entrance
    if entrance is None:
        raise WrongInput("nobody from outside can call this stack, so there is nothing to measure", fix="add a load balancer")
    with site.state.locked("measure"):
        status = _whole_status(site, progress)
        way = way_in(site.topology, entrance, site.entrance_addresses)
        way = replace(way, path=aim.path or way.path)
        run = _Run(site, aim, said)
        whole = run.knee(f"the whole: {way.source} asks {' and '.join(way.addresses)}", way, START_QPS)
        if whole.best is None:
            raise Failed(
                f"not one request a second is answered within {aim.p99_s:g} s: nothing is written down",
                why=whole.beyond.why if whole.beyond else "",
                fix=f"nospof status {site.stack.file}, or allow more time with --p99",
            )
        instances = run.instances(start_qps=whole.best.qps / 2)
        measured = Measured(
            at=time.time(),
            machine=_machine(run.busy_share),
            stack=fingerprint(site.stack),
            request=f"GET {'https' if way.is_encrypted else 'http'}://{site.topology.domain}{way.path}",
            p99_s=aim.p99_s,
            whole=_figure(whole.best, whole),
            instances=_with_implied(site, status, instances, whole.best.qps),
        )
        site.state.write_measured(measured)
        return measured


def _whole_status(site: Deployment, progress: Progress) -> Status:
    """The status of a stack that is whole and as its file says; figures of any other would be taken for its own."""
    until_s = time.monotonic() + WELL_WITHIN_S
    while True:
        status = site.status()
        sick = [one for one in status.instances if one.health != "ok"]
        if not sick:
            break
        if time.monotonic() >= until_s:
            kind = Failed if any(one.health == "failed" for one in sick) else Uncertain
            first = f"{sick[0].tier}/{sick[0].host}: {sick[0].why}"
            what = f"not measured: {len(sick)} of {len(status.instances)} parts are not well, {first}"
            raise kind(what, fix=f"nospof status {site.stack.file}")
        time.sleep(REST_S)
    if not site.plan(progress).is_empty:
        raise Failed("not measured: the hosts are not as the stack file says", fix=f"nospof up {site.stack.file}")
    return status


# --- what is measured ----------------------------------------------------------------------------------------------------
@dataclass
class _Run:
    site: Deployment
    aim: Aim
    said: Said
    busy_share: float = 0.0

    def instances(self, start_qps: float) -> dict[str, dict[str, Figure]]:
        found: dict[str, dict[str, Figure]] = {}
        for instance, way in ways_to_instances(self.site.stack, self.site.topology).items():
            what = f"{instance} alone: {way.source} asks {way.addresses[0]}:{way.port}"
            knee = self.knee(what, replace(way, path=self.aim.path or way.path), start_qps)
            # Nothing in time may be the way's fault: then nothing is known of the whole tier, rather than of this one.
            figure = _figure(knee.best, knee) if knee.best else Figure(0, is_at_least=True)
            found.setdefault(instance.tier, {})[instance.host] = figure
        return found

    def knee(self, what: str, way: Way, start_qps: float) -> Knee:
        def ask(qps: float) -> Step:
            step = _step(self.site, way, self.aim, float(round(qps)))
            self.said.step(step)
            return step

        self.said.begins(what)
        self.busy_share = max(self.busy_share, _busy_share())
        knee = find_knee(ask, start_qps=max(1.0, start_qps), most_qps=self.aim.most_qps)
        self.said.found(knee)
        return knee


def _with_implied(
    site: Deployment, status: Status, found: dict[str, dict[str, Figure]], whole_qps: float
) -> dict[str, dict[str, Figure]]:
    """Add what took part in what was measured: behind an instance on its host, or in all of the whole."""
    for tier in capacities(site.stack, site.topology, None):
        if tier.tier in found:
            continue
        members = [one.id for one in site.topology.of_tier(tier.tier) if one.rank is Rank.NORMAL]
        if behind := _behind(site, members, found):
            found[tier.tier] = behind
        elif (tier.at_work == 1 or _shares_addresses(site, tier.tier)) and (shared := _who_worked(site, status, members)):
            found[tier.tier] = {host: Figure(whole_qps * part, is_at_least=True) for host, part in shared.items()}
    return found


def _behind(site: Deployment, members: list[InstanceId], found: dict[str, dict[str, Figure]]) -> dict[str, Figure]:
    callers = {member.host: only_behind(site.topology, member) for member in members}
    asked = {host: found.get(caller.tier, {}).get(host) for host, caller in callers.items() if caller}
    return {host: figure for host, figure in asked.items() if figure}


def _shares_addresses(site: Deployment, tier: str) -> bool:
    return any(vip.home for vip in site.topology.vips_of(tier))


def _who_worked(site: Deployment, status: Status, members: list[InstanceId]) -> dict[str, float]:
    """The hosts among which all GETs were divided, each with its part of them.

    Of a tier with VIPs whoever holds them, and of one in which one leads the replicas, who are read from, or that one.
    """
    held = [status.holders[vip.name] for vip in site.topology.vips if vip.tier in {member.tier for member in members}]
    if held:
        # A VIP that not exactly one host holds says of nobody what he carried.
        holders = [hosts[0] for hosts in held] if all(len(hosts) == 1 for hosts in held) else []
        return {host: holders.count(host) / len(holders) for host in sorted(set(holders))}
    here = [one for one in status.instances if InstanceId(one.tier, one.host) in members]
    replicas = [one.host for one in here if one.role == "replica"]
    leading = [one.host for one in here if one.leads or one.role == "primary"]
    shared = replicas or leading or [one.host for one in here if len(here) == 1]
    return dict.fromkeys(shared, 1 / len(shared)) if shared else {}


def _figure(best: Step, knee: Knee) -> Figure:
    return Figure(best.qps, knee.is_at_least)


def _machine(busy_share: float) -> Machine:
    said = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in said if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2
    return Machine(platform.node(), len(os.sched_getaffinity(0)), processor, memory, busy_share=round(busy_share, 2))


def _busy_share() -> float:
    """How much of the machine is at work while nobody asks the stack anything."""
    before = _jiffies()
    time.sleep(REST_S)
    spent = [now - then for now, then in zip(_jiffies(), before, strict=True)]
    return 1 - sum(spent[3:5]) / max(1, sum(spent))


def _jiffies() -> list[int]:
    """User, nice, system, idle, waiting for disks, interrupts …, of all cores (proc(5))."""
    return [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


# --- one load ------------------------------------------------------------------------------------------------------------
def _step(site: Deployment, way: Way, aim: Aim, qps: float) -> Step:
    """Ask at this rate for a while, and say whether 99 of 100 requests were answered in time."""
    before_s, begun_s = _cpu_s(), time.monotonic()
    history = _sent(site, _load(site, way, aim, qps), way.source)
    busy = (_cpu_s() - before_s) / (time.monotonic() - begun_s)
    counted = history.between(history.requests[0].intended + WARM_UP_S)
    p99_s = counted.latency_s(SHARE)
    holds = p99_s <= aim.p99_s
    if not holds:
        time.sleep(REST_S)
    why = next((reason for reason, _ in counted.reasons().most_common(1)), "")
    return Step(qps, holds, p99_s, len(counted.bad) / len(counted.requests), why, is_load_late=busy > BUSY)


def _load(site: Deployment, way: Way, aim: Aim, qps: float) -> Load:
    shown = str(way.certificate_of).replace("/", "@") if way.certificate_of else ""
    folder = site.ca_file.parent
    return Load(
        way.addresses,
        site.topology.domain,
        site.ca_file if way.is_encrypted else None,
        certificate=folder / f"{shown}.crt" if shown else None,
        key=folder / f"{shown}.key" if shown else None,
        tls_name=way.tls_name,
        port=way.port,
        path=way.path,
        rate=qps,
        seconds=WARM_UP_S + aim.seconds,
        connections=aim.connections,
        sends_again=True,
        timeout_s=max(SHORTEST_TIMEOUT_S, 2 * aim.p99_s),
    )


def _sent(site: Deployment, load: Load, source: str) -> History:
    with tempfile.TemporaryDirectory(prefix="nospof-measure-") as folder:
        output = Path(folder) / "load.jsonl"
        try:
            with running(load, output, lambda argv: site.lab.network_argv(source, argv)) as load_running:
                load_running.process.wait(load.seconds + 2 * load.timeout_s + 5)
            return read_history(output)
        except (ValueError, TimeoutError, OSError) as error:
            raise Uncertain(
                f"the load from {source} did not come to its end: {error}", fix="nospof status, then again"
            ) from error


def _cpu_s() -> float:
    """What the loads that have ended have used of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
