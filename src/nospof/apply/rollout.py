"""`up`, as one reads it: facts → render → compare → stage → open the firewall → activate tier by tier → settle.

Everything that can be refused is refused before anything is replaced. Within a tier the first host must be healthy before the
others are touched; holders of an address and primaries come last. What fails is put back on its host, and nothing after it
is begun.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from nospof.apply import trips
from nospof.apply.plan import Change, Plan, activation_layers, host_order
from nospof.apply.seal import Vault
from nospof.apply.state import who
from nospof.apply.transport import Finished, Transport
from nospof.apply.trips import Problem, Trip
from nospof.apply.wire import to_wire
from nospof.component import DRAINING, Facts
from nospof.errors import Failed, NospofError, Uncertain
from nospof.render.firewall import CONFIRM, RULES_PATH, union
from nospof.render.host import FIREWALL_TIER, Manifest, render
from nospof.resolve import component_of
from nospof.topology import InstanceId, Topology

Json = dict[str, Any]
# The host's own time to come back from a firewall that shuts us out.
GUARD_S = 60
NO_CARE: Json = {"drain": "", "noticed_s": 0.0}
FACTS_S, COMPARE_S, STAGE_S, ACTIVATE_S, SETTLE_S = 10.0, 60.0, 1200.0, 400.0, 120.0


class Progress(Protocol):
    """Told what happens while it happens."""

    def phase(self, text: str) -> None:
        """A phase begins."""

    def host(self, host: str, text: str) -> None:
        """Something happens on a host."""

    def note(self, text: str) -> None:
        """Something the user should know, no matter what."""


class Gatherer(Protocol):
    """Makes content out of the user's folders: edge work, done between facts and render."""

    def __call__(self, topology: Topology, host: str, facts: Facts) -> Mapping[str, tuple[str, Callable[[], bytes]]]:
        """Return {"app/release": (sha256, read)} for the instances of `host`."""


@dataclass
class Known:
    """What one host said of itself, and what it is to have."""

    facts: Facts
    generation: int
    firewall: str
    leads: Mapping[str, bool]
    manifest: Manifest
    wire: Json
    digest: str
    blobs: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    missing_blobs: tuple[str, ...] = ()
    is_retired: bool = False
    """It was this stack's before, until `down`, and may have kept its data."""
    instances: frozenset[str] = frozenset()
    """What it has now, as "tier/host"."""


class Rollout:
    """One run over all hosts of a stack."""

    def __init__(
        self,
        topology: Topology,
        choices: Mapping[str, str],
        vault: Vault,
        transport: Transport,
        gather: Gatherer,
        progress: Progress,
    ) -> None:
        self.topology, self.choices, self.vault = topology, choices, vault
        self.transport, self.gather, self.progress = trips.OneAtATime(transport), gather, progress
        self.hosts: dict[str, Known] = {}
        self.missing: dict[str, Problem] = {}

    # --- looking -----------------------------------------------------------------------------------------------------
    def plan(self) -> Plan:
        """Ask every host what it lacks. Changes nothing anywhere."""
        self.progress.phase("asking the hosts")
        self._ask_facts()
        answers = self._send(list(self.hosts), lambda host: {"phase": "compare", "manifest": self.hosts[host].wire}, COMPARE_S)
        changes: list[Change] = []
        for host, answer in answers.items():
            if isinstance(answer, Problem):
                self._lose(host, answer)
                continue
            self.hosts[host].missing_blobs = tuple(answer["missing_blobs"])
            changes += [Change(host=host, **difference) for difference in answer["differences"]]
        return Plan(tuple(changes), tuple(self.missing.values()))

    def _ask_facts(self) -> None:
        addresses = {host.name: host.address for host in self.topology.hosts}
        ask = lambda host: {"phase": "facts", "address": addresses[host], "leads": leading_commands(self.topology, host)}  # noqa: E731
        for host, answer in self._send(list(addresses), ask, FACTS_S).items():
            if isinstance(answer, Problem):
                self._lose(host, answer)
            else:
                self._refuse_foreign(host, answer)
                self.hosts[host] = self._known(host, answer)

    def _refuse_foreign(self, host: str, answer: Json) -> None:
        ours = self.vault.state.stack_id
        if answer["stack_id"] and answer["stack_id"] != ours:
            raise Failed(
                f"host {host} belongs to another stack: {answer['stack']} ({answer['stack_id']})",
                why="nospof overwrites nothing that is not its own",
                fix="`nospof down` for that stack first; or, if it is this one, put its .nospof/ folder back beside the file",
            )

    def _known(self, host: str, answer: Json) -> Known:
        facts = Facts(**answer["facts"])
        if not facts.interface:
            address = self.topology.host(host).address
            raise Failed(f"host {host} does not have the address {address}", fix="correct `address:` in the stack file")
        gathered = self.gather(self.topology, host, facts)
        onhost, onhost_bytes = trips.onhost_blob()
        names = {name: sha256 for name, (sha256, _) in gathered.items()} | {"base/onhost": onhost}
        blobs: dict[str, Callable[[], bytes]] = dict(gathered.values())
        blobs[onhost] = lambda: onhost_bytes
        manifest = render(self.topology, host, facts, self.choices, names)
        wire = to_wire(manifest, self.vault.fill)
        return Known(
            facts,
            answer["generation"],
            answer["firewall"],
            answer["leads"],
            manifest,
            wire,
            trips.digest(wire),
            blobs,
            is_retired=answer["is_retired"],
            instances=frozenset(answer["instances"]),
        )

    def refuse_exchange(self, leaving: Collection[str]) -> None:
        """Raise Failed where one host would come in the place of another that has to give it what it keeps.

        `leaving`: hosts that are there and no longer in the topology; one that does not answer has nothing to give.
        """
        tiers = {one.id.tier for one in self.topology.instances if component_of(one).moves_what_it_keeps}
        if not tiers:
            return
        had = {host: known.instances for host, known in self.hosts.items()}
        asked = self._send(leaving, lambda _: {"phase": "facts", "address": "", "leads": {}}, FACTS_S)
        for host, answer in asked.items():
            if not isinstance(answer, Problem) and answer["stack_id"] == self.vault.state.stack_id:
                had[host] = frozenset(answer["instances"])
        for tier in sorted(tiers):
            planned = {one.id.host for one in self.topology.of_tier(tier)}
            there = {host for host, names in had.items() if f"{tier}/{host}" in names}
            gone, new = sorted(there - planned), sorted((planned & had.keys()) - there)
            if gone and new:
                leaving_now, joining = ", ".join(gone), ", ".join(new)
                raise Failed(
                    f"tier {tier} loses {leaving_now} and gains {joining} at once: nothing was changed",
                    why=f"what {leaving_now} keeps moves to the others, but it and {joining} never let each other in",
                    fix=f"in two steps, nospof up after each: {joining} in while {leaving_now} stays, then {leaving_now} out; "
                    f"or {leaving_now} out first, where enough are left",
                )

    def _lose(self, host: str, problem: Problem) -> None:
        self.hosts.pop(host, None)
        self.missing[host] = problem

    # --- doing -------------------------------------------------------------------------------------------------------
    def apply(self, plan: Plan) -> None:
        """Carry out `plan`, which this very object made. Raises Failed or Uncertain at the first thing that goes wrong."""
        hosts = sorted({change.host for change in plan.changes})
        self._stage(hosts)
        self._open_firewall(plan)
        if all(known.generation == 0 for known in self.hosts.values()):
            self._activate_first_time(plan)
        else:
            self._activate_one_by_one(plan)
        self._settle(hosts)
        self._tell_missing()

    def _stage(self, hosts: Sequence[str]) -> None:
        self.progress.phase("checking everything on the hosts, nothing is replaced yet")
        requests = {host: {"phase": "stage", "manifest": self.hosts[host].wire} for host in hosts}
        blobs = {host: {sha: self.hosts[host].blobs[sha]() for sha in self.hosts[host].missing_blobs} for host in hosts}
        answers = self._write(hosts, requests, STAGE_S, blobs)
        problems = [answer for answer in answers.values() if isinstance(answer, Problem)]
        if problems:
            raise _failure(problems, "nothing was replaced on any host")
        for host in hosts:
            self.progress.host(host, "ready")

    def _open_firewall(self, plan: Plan) -> None:
        """Let in what the old and the new configuration need, until everything has changed."""
        hosts = plan.hosts_of_tier(FIREWALL_TIER)
        if not hosts:
            return
        self.progress.phase("opening the firewall for what is new")
        overrides = {host: {RULES_PATH: union(self.hosts[host].firewall, self._rules(host))} for host in hosts}
        self._change_firewall(hosts, overrides)

    def _change_firewall(self, hosts: Sequence[str], overrides: Mapping[str, Mapping[str, str]]) -> None:
        """Change it with the way back armed on each host: who can no longer be reached puts the old rules back by itself."""
        self._activate({host: [FIREWALL_TIER] for host in hosts}, overrides)
        with ThreadPoolExecutor(trips.PARALLEL) as pool:
            confirmed = pool.map(lambda host: self.transport.run_anew(host, CONFIRM), hosts)
            shut = {host: outcome for host, outcome in zip(hosts, confirmed, strict=True) if not isinstance(outcome, Finished)}
        if shut:
            first = next(iter(shut.values()))
            raise Uncertain(
                f"no new connection to {', '.join(shut)} since the firewall changed there",
                why=f"{first.reason}; within {GUARD_S} s the host puts its old rules back by itself",
                fix="see that `admin:` names the network you come from, and `port:` sshd's port; then `nospof up` again",
            )

    def _rules(self, host: str) -> str:
        parts = dict(self.hosts[host].manifest.parts)
        firewall = next(part for instance, part in parts.items() if instance.tier == FIREWALL_TIER)
        return next(file.text for file in firewall.files if file.path == RULES_PATH)

    def _activate_one_by_one(self, plan: Plan) -> None:
        """Change a stack that serves: never two hosts of a tier at once, those that lead last."""
        for tier in (tier for layer in self._layers(plan) for tier in layer):
            self.progress.phase(tier)
            for host in self._order(tier, plan):
                self._activate({host: [tier]}, care=self._care(tier, host))

    def _activate_first_time(self, plan: Plan) -> None:
        """Nobody is served yet: a layer at once, and the other hosts of its tiers while the next layer's first ones start.

        What a `down` has left knows its others, and may be nothing without them: such hosts come back together.
        """
        layers = self._layers(plan)
        if any(known.is_retired for known in self.hosts.values()):
            layers = [[tier] for layer in layers for tier in layer]
        following: list[tuple[Collection[str], Future[None]]] = []
        with ThreadPoolExecutor(1) as second_wave:
            try:
                for layer in layers:
                    self.progress.phase(", ".join(layer))
                    first, others = self._waves(layer, plan)
                    for hosts, wave in following:
                        if not first.keys().isdisjoint(hosts):
                            wave.result()
                    self._activate(first)
                    before = [wave for _, wave in following]
                    following.append((others, second_wave.submit(self._follow, before, others)))
                for _, wave in following:
                    wave.result()
            except NospofError:
                second_wave.shutdown(cancel_futures=True)
                for _, wave in following:
                    if not wave.cancelled():
                        wave.result()  # what failed here was first
                raise

    def _follow(self, before: Sequence[Future[None]], tiers: Mapping[str, Sequence[str]]) -> None:
        """Activate what follows, unless one of the waves before failed: raises what that one did."""
        for wave in before:
            wave.result()
        self._activate(tiers)

    def _waves(self, layer: Sequence[str], plan: Plan) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """By host, the tiers of `layer` that it begins, and those in which it follows."""
        first: defaultdict[str, list[str]] = defaultdict(list)
        others: defaultdict[str, list[str]] = defaultdict(list)
        for tier in layer:
            hosts = self._order(tier, plan)
            begun = [host for host in hosts if self.hosts[host].is_retired] or hosts[:1]
            for host in hosts:
                (first if host in begun else others)[host].append(tier)
        return first, others

    def _order(self, tier: str, plan: Plan) -> tuple[str, ...]:
        leads = {host: known.leads.get(f"{tier}/{host}", False) for host, known in self.hosts.items()}
        chosen = {host for name, host in self.choices.items() if name.startswith(f"{tier}/")}
        new = {host for host, known in self.hosts.items() if known.generation == 0}
        return host_order(plan.hosts_of_tier(tier), leads, chosen, new)

    def _layers(self, plan: Plan) -> list[list[str]]:
        """The tiers that change, callees first; the firewall has a turn of its own before and after them."""
        layers = [
            [tier for tier in layer if tier != FIREWALL_TIER and plan.hosts_of_tier(tier)]
            for layer in activation_layers(self.topology)
        ]
        return [layer for layer in layers if layer]

    def _care(self, tier: str, host: str) -> Json:
        """What is done that callers of `tier` notice nothing while the one on `host` changes and others serve."""
        if tier not in self.topology.on_visitors_way() or self.topology.keeps_data(tier):
            return NO_CARE
        components = [component_of(instance) for instance in self.topology.instances]
        drain = f"{DRAINING}/{tier}" if self._may_drain(tier, host) and not any(one.is_sticky for one in components) else ""
        return {"drain": drain, "noticed_s": max(one.notices_s for one in components)}

    def _may_drain(self, tier: str, host: str) -> bool:
        """Whether a web server beside it can say that it is ill, and another one serves meanwhile."""
        instance = self.topology.instance(InstanceId(tier, host))
        asked = {link.source.host for link in self.topology.links_to(instance.id) if link.target.listen.speaks.carries_pages}
        others = {one.id.host for one in self.topology.of_tier(tier)} - {host}
        is_served = any(self.hosts[other].generation > 0 for other in others & self.hosts.keys())
        return component_of(instance).is_drained and host in asked and is_served

    def _activate(
        self,
        tiers: Mapping[str, Sequence[str]],
        overrides: Mapping[str, Mapping[str, str]] | None = None,
        care: Json = NO_CARE,
    ) -> None:
        """Activate on each host its instances of `tiers`, one after the other; different hosts do not wait."""
        requests = {
            host: {
                "phase": "activate",
                "instances": [f"{tier}/{host}" for tier in its_tiers],
                "overrides": dict((overrides or {}).get(host, {})),
                "guard_s": GUARD_S if FIREWALL_TIER in its_tiers else 0,
                "care": care,
                "digest": self.hosts[host].digest,
            }
            for host, its_tiers in tiers.items()
        }
        answers = self._write(list(tiers), requests, ACTIVATE_S * max(map(len, tiers.values()), default=1))
        problems = [answer for answer in answers.values() if isinstance(answer, Problem)]
        for host, answer in answers.items():
            if isinstance(answer, Problem):
                continue
            for result in answer["activated"]:
                if result["failure"]:
                    problems.append(_unhealthy(host, result))
                elif result["done"]:
                    self.progress.host(host, _summary(result["done"]))
        if problems:
            raise _failure(problems, "nothing after it was begun; hosts that were not reached are as before")

    def _settle(self, hosts: Sequence[str]) -> None:
        self.progress.phase("closing the firewall, removing what is gone, writing receipts")
        self._change_firewall([host for host in hosts if host in self.hosts], {})
        at = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        common = {"phase": "settle", "at": at, "stack": self.topology.stack}
        requests = {host: {**common, "digest": self.hosts[host].digest} for host in hosts}
        answers = self._write(hosts, requests, SETTLE_S)
        problems = [answer for answer in answers.values() if isinstance(answer, Problem)]
        if problems:
            raise _failure(problems, "everything is in place, but the next `up` will look at these hosts again")
        for host, answer in answers.items():
            for removed in answer["removed"] if not isinstance(answer, Problem) else []:
                self.progress.host(host, f"{removed['change']} {removed['name']}")

    def _tell_missing(self) -> None:
        if self.missing:
            first, *_ = self.missing.values()
            raise Uncertain(
                f"{', '.join(sorted(self.missing))} did not answer; every other host is as the file says",
                why=first.what,
                fix="bring the host back, then run `nospof up` again",
            )

    # --- trips -------------------------------------------------------------------------------------------------------
    def _send(self, hosts: Iterable[str], request: Callable[[str], Json], timeout_s: float) -> dict[str, Json | Problem]:
        return trips.send(self.transport, [Trip(host, request(host), {}, timeout_s) for host in hosts])

    def _write(
        self,
        hosts: Iterable[str],
        requests: Mapping[str, Json],
        timeout_s: float,
        blobs: Mapping[str, Mapping[str, bytes]] | None = None,
    ) -> dict[str, Json | Problem]:
        signed = {"by": who(), "stack_id": self.vault.state.stack_id}
        return trips.send(
            self.transport,
            [
                Trip(
                    host,
                    {**requests[host], **signed, "generation": self.hosts[host].generation},
                    (blobs or {}).get(host, {}),
                    timeout_s,
                )
                for host in hosts
            ],
        )


def leading_commands(topology: Topology, host: str) -> dict[str, list[str]]:
    """By instance of `host`, the command that exits 0 where it leads: holds the address, is the primary."""
    found = {str(instance.id): list(component_of(instance).touch_last_if) for instance in topology.on_host(host)}
    return {name: argv for name, argv in found.items() if argv}


def _unhealthy(host: str, result: Json) -> Problem:
    after = "; what was there before is back" if result["is_restored"] else "; what was there before could not be put back"
    return Problem(host, "unhealthy", f"{result['instance']}: {result['failure']}{after}", result["detail"])


def _failure(problems: Sequence[Problem], then: str) -> NospofError:
    """The error for what went wrong on one or more hosts; Uncertain when it is not known what happened."""
    first = problems[0]
    more = f" (and on {', '.join(problem.host for problem in problems[1:])})" if len(problems) > 1 else ""
    lines = [(f"[{problem.host}] {problem.what}", *problem.detail.splitlines()) for problem in problems]
    detail = "\n".join(line for group in lines for line in group)
    kind: type[NospofError] = Failed
    if any(problem.kind in ("unknown", "unreachable") for problem in problems):
        kind = Uncertain
    if any(problem.kind == "defect" for problem in problems):
        kind = NospofError
    return kind(f"host {first.host}{more}: {first.what.splitlines()[0]}", why=then, fix=_fix(first), detail=detail)


def _fix(problem: Problem) -> str:
    return {
        "unhealthy": "correct what its log lines say and run `nospof up` again",
        "not-ready": "correct what the checker says and run `nospof up` again",
        "busy": "wait for the other run to end, then run `nospof up` again",
        "moved-on": "look at `nospof plan`, then run `nospof up` again",
        "host-error": "make room, or mend what the host says, and run `nospof up` again",
        "unreachable": "bring the host back, then run `nospof up` again: it goes on from here",
        "unknown": "look at `nospof status`, then run `nospof up` again: it goes on from here",
    }.get(problem.kind, "")


def _summary(done: Sequence[str]) -> str:
    """What was done on a host, in one line: units and steps by name, files by number; not what Debian runs anyway."""
    files = sum(1 for entry in done if "/" in entry)
    named: dict[str, list[str]] = {}
    for verb, _, name in (entry.partition(" ") for entry in done if "/" not in entry):
        if verb != "enable" and not name.startswith("systemd-"):
            named.setdefault(_DONE.get(verb, verb), []).append(name.removesuffix(".service"))
    words = [f"{', '.join(names)} {verb}" for verb, names in named.items()]
    counted = [f"{files} file{'s' * (files > 1)}"] if files else []
    return " · ".join([*words, *counted])


_DONE = {
    "start": "started",
    "restart": "restarted",
    "reload": "reloaded",
    "stop": "stopped",
    "ask": "asked to restart",
    "create": "made",
    "run": "done",
}
