"""What the failover agents say and are asked: the state of each tier that has them, put together from the answers of its hosts.

Whoever has seen the newest state of the cluster is believed about the cluster; everybody about himself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nospof.apply.trips import Problem
from nospof.resolve import component_of
from nospof.topology import Topology

Json = dict[str, Any]
MOST_FAILOVERS = 5
# A lag is told in whole seconds, and a feed that is silent for less than one is no lag.
UNSEEN_S = 2.0


@dataclass(frozen=True)
class AgentView:
    """One database host. `role`: primary, replica, none, or unknown where its agent gave no answer; `says` tells why."""

    tier: str
    host: str
    role: str = "unknown"
    is_witness: bool = False
    is_spare: bool = False
    is_voter: bool | None = None
    takes_writes: bool = False
    lag_s: float | None = None
    qps: float | None = None
    """Statements a second that clients send it, over the last five seconds; None: not known."""
    received: str = ""
    """The position up to which it has received, as the agent writes it: "0:17@1"."""
    says: str = ""
    answers: bool = False


@dataclass(frozen=True)
class Failover:
    """One change of the primary. `ms`: how long each phase took; `loss`: none or possible; `at`: seconds since the epoch."""

    term: int
    origin: str
    to: str
    cause: str
    why: str
    at: float
    ms: Mapping[str, int]
    loss: str


@dataclass(frozen=True)
class Database:
    """One tier whose primary is led by agents. `health`: ok, failed, unknown; `why` says what is not as it should be.

    `sync`: ok, joining, degraded; `paused_until`: seconds since the epoch, 0 where it is not paused.
    """

    tier: str
    hosts: tuple[AgentView, ...]
    health: str = "unknown"
    why: str = ""
    primary: str = ""
    term: int = 0
    sync: str = "unknown"
    mode: str = "unknown"
    voters: tuple[str, ...] = ()
    paused_until: float = 0.0
    paused_by: str = ""
    etcd_leader: str = ""
    etcd_members: tuple[str, ...] = ()
    failovers: tuple[Failover, ...] = ()
    told: Mapping[str, str] = field(default_factory=dict)
    """Host → the position it last told the others."""

    def host(self, name: str) -> AgentView:
        return next(view for view in self.hosts if view.host == name)


def behind(database: Database, since_s: float) -> tuple[str, ...]:
    """Hosts that may lack something of what the primary had so many seconds ago; who does not tell may lack anything."""
    copies = (view for view in database.hosts if view.role != "primary")
    return tuple(view.host for view in copies if view.lag_s is None or view.lag_s + UNSEEN_S >= since_s)


def sockets(topology: Topology, host: str) -> dict[str, str]:
    """The agents of `host`: instance → where it hears people."""
    found = {str(instance.id): component_of(instance).asks_agent for instance in topology.on_host(host)}
    return {name: path for name, path in found.items() if path}


def socket_of(topology: Topology, tier: str) -> str:
    """Where the agents of `tier` hear people: the same path on each of its hosts, those that just left it included."""
    return next(path for one in topology.of_tier(tier) if (path := component_of(one).asks_agent))


def tiers(topology: Topology) -> dict[str, tuple[str, ...]]:
    """The tiers that have agents, and their hosts."""
    found: dict[str, tuple[str, ...]] = {}
    for instance in topology.instances:
        if component_of(instance).asks_agent:
            found[instance.id.tier] = (*found.get(instance.id.tier, ()), instance.id.host)
    return found


def databases(topology: Topology, answers: Mapping[str, Json | Problem]) -> tuple[Database, ...]:
    """The state of each tier with agents; `answers`: host → its answer to the phase `status`. Pure."""
    return tuple(database(tier, hosts, _of_tier(tier, hosts, answers)) for tier, hosts in tiers(topology).items())


def _of_tier(tier: str, hosts: Sequence[str], answers: Mapping[str, Json | Problem]) -> dict[str, Json | Problem]:
    found: dict[str, Json | Problem] = {}
    for host in hosts:
        answer = answers[host]
        none = {"ok": False, "why": "not applied yet: nospof up"}
        found[host] = answer if isinstance(answer, Problem) else answer.get("agents", {}).get(f"{tier}/{host}", none)
    return found


def database(tier: str, hosts: Sequence[str], answers: Mapping[str, Json | Problem]) -> Database:
    """The state of one tier; `answers`: host → what its agent answered to `status`. Pure."""
    views = tuple(_view(tier, host, answers[host]) for host in hosts)
    good = [answer for answer in answers.values() if not isinstance(answer, Problem) and answer.get("ok") and answer["cluster"]]
    if not good:
        first = next((view.says for view in views if view.says), "nobody is there")
        return Database(tier, views, why=f"no agent knows the cluster: {first}")
    best = max(good, key=lambda answer: int(answer["cluster"]["revision"]))
    cluster, etcd = best["cluster"], _etcd(good)
    known = Database(
        tier,
        views,
        primary=cluster["primary"],
        term=cluster["term"],
        sync=cluster["sync"],
        mode=best["mode"],
        voters=tuple(sorted(cluster["voters"])),
        paused_until=cluster["paused_until"],
        paused_by=cluster["paused_by"],
        etcd_leader=etcd["leader"],
        etcd_members=tuple(etcd["members"]),
        failovers=tuple(_failover(entry) for entry in best["history"] if entry.get("from"))[:MOST_FAILOVERS],
        told={node: _position(report["received"]) for node, report in best["reports"].items()},
    )
    health, why = _judged(known, best)
    return replace(known, health=health, why=why)


def _view(tier: str, host: str, answer: Json | Problem) -> AgentView:
    if isinstance(answer, Problem):
        return AgentView(tier, host, says=f"the host does not answer: {answer.what}")
    note = answer.get("note") or {}
    if not answer.get("ok"):
        last = f"; {note['age_s']:g} s ago it said: {note['says']}" if note else ""
        return AgentView(tier, host, says=f"{answer.get('why', 'the agent does not answer')}{last}")
    details = note.get("details", {})
    return AgentView(
        tier,
        host,
        role=note.get("role", "none"),
        is_witness=bool(details.get("is_witness")),
        is_spare=bool(details.get("is_spare")),
        is_voter=bool(details.get("is_voter")),
        takes_writes=bool(note.get("takes_writes")),
        lag_s=details.get("lag_s"),
        qps=answer.get("qps"),
        received=details.get("received") or "",
        says=answer["says"],
        answers=True,
    )


def _etcd(answers: Sequence[Json]) -> Json:
    """What those say of etcd who reach it."""
    told: list[Json] = [answer["etcd"] for answer in answers]
    return next((etcd for etcd in told if etcd["leader"]), told[0])


def _judged(known: Database, best: Json) -> tuple[str, str]:
    """How the tier is, and what is not as it should be. No false "ok": who takes writes must have said so itself."""
    writers = [view.host for view in known.hosts if view.takes_writes]
    silent = [view.host for view in known.hosts if not view.answers]
    could = min(int(best["most_voters"]), len(known.hosts) - 1)
    if len(writers) > 1:
        return "failed", f"{' AND '.join(writers)} say that they take writes: it must be one alone"
    if not known.primary:
        return "failed", best["says"]
    if not writers:
        view = next((view for view in known.hosts if view.host == known.primary), None)
        said = view.says if view else "it is no host of this tier"
        return "unknown" if known.primary in silent else "failed", f"nobody is known to take writes; {known.primary}: {said}"
    if could and known.sync == "degraded":
        return "failed", f"no copy acknowledges the writes of {known.primary}"
    return "ok", "; ".join(_remarks(known, could))


def _remarks(known: Database, could: int) -> list[str]:
    found = []
    if known.sync == "joining":
        found.append("the first copy is on its way to have everything")
    elif len(known.voters) < could:
        found.append(f"of {could} copies that could acknowledge writes {len(known.voters)} does")
    if known.etcd_members and not known.etcd_leader:
        found.append("etcd has no leader: nobody can take over now")
    return found


def _failover(entry: Json) -> Failover:
    return Failover(
        term=int(entry["term"]),
        origin=str(entry["from"]),
        to=str(entry["to"]),
        cause=str(entry["cause"]),
        why=str(entry["why"]),
        at=float(entry["at"]),
        ms={str(name): int(ms) for name, ms in entry["ms"].items()},
        loss=str(entry["loss"]),
    )


def _position(told: Json) -> str:
    """As the agent itself writes positions."""
    numbers = ",".join(f"{source}:{number}" for source, number in told["numbers"])
    return numbers + (f"@{told['writer']}" if told["writer"] else "")


def distance(here: str, there: str) -> int:
    """How many transactions of position `there` are missing in `here`."""
    mine = _numbers(here)
    return sum(max(0, number - mine.get(source, 0)) for source, number in _numbers(there).items())


def _numbers(position: str) -> dict[str, int]:
    pairs = [pair.partition(":") for pair in position.partition("@")[0].split(",") if pair]
    return {source: int(number) for source, _, number in pairs}
