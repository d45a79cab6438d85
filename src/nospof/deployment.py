"""A stack as it is deployed: its file, its topology, what is remembered of it, and the way to its hosts.

Commands and drills work on this; it joins what is pure (load, resolve, render) with what is not (state, lab, trips).
"""

from __future__ import annotations

import atexit
import http.client
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from nospof.apply import agents, ca_change, password_change, trips
from nospof.apply.agents import AgentView, Database
from nospof.apply.ca_change import CaStep
from nospof.apply.gather import Gathering
from nospof.apply.password_change import PasswordStep
from nospof.apply.plan import Change, Plan
from nospof.apply.preflight import Check, preflight
from nospof.apply.releases import Gathered, forget_newest, one_before
from nospof.apply.rollout import Progress, Rollout, leading_commands
from nospof.apply.seal import Vault
from nospof.apply.secret_question import ask_secret
from nospof.apply.ssh import OpenSsh, Server
from nospof.apply.state import Release, State, who
from nospof.apply.transport import Finished, Transport
from nospof.apply.trips import Problem, Trip
from nospof.component import Component
from nospof.errors import Failed, NospofError, Uncertain, WrongInput
from nospof.explain.dns import zone_lines
from nospof.lab.lab import Lab, LabHost, LabPlan
from nospof.lab.places import CLIENT
from nospof.render.host import image_packages, suite_of
from nospof.resolve import Resolved, component_of, resolve
from nospof.stack.load import load
from nospof.stack.model import Stack
from nospof.stack.problems import Problem as StackProblem
from nospof.stack.problems import Severity, StackProblems
from nospof.topology import OUTSIDE, Endpoint, Instance, Topology

STATUS_S, LOGS_S = 2.0, 20.0
# Of the time in which a host is to say how it is, what its parts may take to answer it.
ASKED_SHARE = 0.75
# What an agent may take for a request (nospof.onhost.agent.control), and what the way there and back takes at most.
SWITCHOVER_S, PROMOTE_S, PAUSE_S, LEAVE_S, WAY_S = 14.0, 20.0, 9.0, 9.0, 2.0
FIRST_ANSWER_S = 15.0
# A copy that is well is behind by a fraction of a second.
COPIES_S = 120.0
LEAVES_WITHIN_S, RETIRES_WITHIN_S = 20.0, 180.0
HTTPS = 443
ZONE_FILE = "dns.zone"


@dataclass(frozen=True)
class InstanceState:
    """One instance as its host sees it. `health`: ok, failed, unknown; `leads` None where there is nothing to lead."""

    tier: str
    host: str
    component: str
    health: str
    why: str
    leads: bool | None
    role: str | None = None
    """Of a database with an agent: primary, replica, none, unknown."""
    lag_s: float | None = None
    is_voter: bool | None = None
    qps: float | None = None
    """Of a database with an agent: statements a second that clients send it; None: not known."""
    says: str = ""


@dataclass(frozen=True)
class Status:
    """The whole stack at one moment. A host that did not answer is in `problems`, and its instances are unknown."""

    instances: tuple[InstanceState, ...]
    holders: Mapping[str, tuple[str, ...]]
    """Name of a VIP → hosts that have its address now."""
    problems: tuple[Problem, ...]
    databases: tuple[Database, ...] = ()


@dataclass(frozen=True)
class Switched:
    """The primary was changed as asked. `phases`: what took how many milliseconds; `ms`: all of it."""

    tier: str
    origin: str
    to: str
    ms: int
    phases: Mapping[str, int]


@dataclass(frozen=True)
class Answer:
    """What the site answered to one request through its entrance."""

    url: str
    status: int
    took_s: float


class Deployment:
    """One stack file and everything that belongs to it."""

    def __init__(self, stack: Stack, resolved: Resolved, state: State) -> None:
        self.stack, self.state, self.allotment = stack, state, resolved.allotment
        self.topology: Topology = resolved.topology
        self.problems: tuple[StackProblem, ...] = resolved.problems

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """Read the stack file at `path`. Raises StackProblems with every error that is in it."""
        kinds = {name: kind.settings_type for name, kind in Component.kinds.items()}
        stack = load(path, kinds)
        state = State(stack.file)
        resolved = resolve(stack, state.allotment())
        if any(problem.severity is Severity.ERROR for problem in resolved.problems):
            raise StackProblems(resolved.problems)
        return cls(stack, resolved, state)

    # --- the way to the hosts ----------------------------------------------------------------------------------------
    @property
    def is_lab(self) -> bool:
        """Whether its hosts are made in this machine."""
        return all(host.is_lab for host in self.topology.hosts)

    @property
    def exists(self) -> bool:
        """Whether there are hosts on which `up` was at least begun."""
        if not self.is_lab:
            return self.state.exists
        return bool(self.state.lab_name) and self.lab.exists

    @property
    def lab(self) -> Lab:
        """The lab its hosts are in. Raises WrongInput for a stack of real servers, Failed before the first `up`."""
        if not self.is_lab:
            raise WrongInput(
                "the hosts of this stack are real servers, and this is for the lab's",
                fix="to try it out, bring a copy of the file up without `address:` and `vip:`: its hosts are then made here",
            )
        if not self.state.lab_name:
            raise Failed("this stack was never brought up", fix=f"nospof up {self.stack.file}")
        return Lab.open(self.state.lab_name)

    @property
    def hosts(self) -> Transport:
        """The way to its hosts. Raises Failed before the first `up` of a lab."""
        return self.lab if self.is_lab else self.servers

    @cached_property
    def servers(self) -> OpenSsh:
        """The way to real servers: those of the file, and those that were taken out of it and still run what they ran."""
        return way_to({**self.state.servers(), **self._told_servers()})

    def _told_servers(self) -> dict[str, Server]:
        """Those of the file."""
        return {host.name: Server(host.name, host.address, host.user, host.port) for host in self.stack.hosts if host.address}

    @property
    def entrance(self) -> Endpoint | None:
        """Where visitors come in: over HTTPS, or else over HTTP; None when nothing is open to the outside."""
        links = [link for link in self.topology.links if link.source == OUTSIDE]
        entries = sorted({link.target for link in links}, key=lambda entry: (entry.listen.port != HTTPS, str(entry)))
        return entries[0] if entries else None

    @property
    def entrance_addresses(self) -> tuple[str, ...]:
        """The addresses visitors use, any of them: the VIPs, or that of the host with an entrance; () without an entrance."""
        if self.entrance is None:
            return ()
        vips = self.topology.vips_of(self.entrance.owner.tier)
        return tuple(vip.address for vip in vips) or (self.topology.host(self.entrance.owner.host).address,)

    @property
    def url(self) -> str:
        """What to type into a browser on this machine; "" when nothing can be."""
        if not self.is_lab:
            return f"https://{self._domain}/" if self.entrance and self.entrance.listen.port == HTTPS else ""
        port = self.lab.url_port
        scheme = "https" if self.entrance and self.entrance.listen.port == HTTPS else "http"
        return f"{scheme}://{self.stack.name}.localhost:{port}/" if port else ""

    @property
    def _domain(self) -> str:
        sites = self.topology.promised_sites(self.entrance) if self.entrance else ()
        return next((site.domain for site in sites if site.domain), self.topology.domain)

    @property
    def ca_file(self) -> Path:
        """The certificate of the stack's CA, for browsers and curl."""
        return self.state.folder / "certificates" / "ca.crt"

    @property
    def zone_file(self) -> Path:
        """The lines that DNS must have, written by `up` of real servers."""
        return self.state.folder / ZONE_FILE

    # --- looking -----------------------------------------------------------------------------------------------------
    def plan(self, progress: Progress) -> Plan:
        """What `up` would do on the hosts that are there. Makes and changes nothing."""
        rollout = self._rollout(progress, self._gathered(progress), is_reading=True)
        plan = rollout.plan()
        try:
            rollout.refuse_exchange(self._leaving())
        except Failed as refusal:
            progress.note(f"`up` refuses this: {refusal} ({refusal.why}); {refusal.fix}")
        return self._with_hosts(plan)

    def _with_hosts(self, plan: Plan) -> Plan:
        """What the hosts lack, and the hosts that are to be made or to go."""
        missing = self._missing()
        hosts = [Change(host, "", "host", host, "create") for host in missing]
        hosts += [Change(host, "", "host", host, "remove") for host in self._leaving()]
        unknown = (problem for problem in plan.problems if problem.host not in missing)
        return Plan(tuple(sorted(hosts, key=lambda change: change.host)) + plan.changes, tuple(unknown))

    def _missing(self) -> tuple[str, ...]:
        """Hosts that are to be made first, in a lab."""
        return tuple(sorted({host.name for host in self.topology.hosts} - set(self.lab.host_names()))) if self.is_lab else ()

    def _leaving(self) -> tuple[str, ...]:
        """Hosts that are there and no longer in the file."""
        there = {*self.lab.host_names(), *self.lab.unplanned()} if self.is_lab else set(self.state.servers())
        return tuple(sorted(there - {host.name for host in self.topology.hosts} - {CLIENT}))

    def status(self, patience_s: float = STATUS_S) -> Status:
        """How everything is now; a host that says nothing for `patience_s` is unknown, but see `trips.ask`."""
        limit_s = ASKED_SHARE * patience_s
        requests = [Trip(host.name, self._status_request(host.name, limit_s), {}, patience_s) for host in self.topology.hosts]
        answers = trips.ask(self.hosts, requests)
        seen = {host: answer["addresses"] for host, answer in answers.items() if not isinstance(answer, Problem)}
        holders = {
            vip.name: tuple(host for host, addresses in seen.items() if vip.address in addresses) for vip in self.topology.vips
        }
        databases = agents.databases(self.topology, answers)
        views = {f"{view.tier}/{view.host}": view for database in databases for view in database.hosts}
        instances = tuple(
            _with_role(self._instance_state(instance, answers[instance.id.host]), views.get(str(instance.id)))
            for instance in self.topology.instances
        )
        problems = tuple(answer for answer in answers.values() if isinstance(answer, Problem))
        return Status(instances, holders, problems, databases)

    def _status_request(self, host: str, limit_s: float) -> dict[str, Any]:
        leads = leading_commands(self.topology, host)
        return {"phase": "status", "leads": leads, "limit_s": limit_s, "agents": agents.sockets(self.topology, host)}

    def _instance_state(self, instance: Instance, answer: dict[str, Any] | Problem) -> InstanceState:
        common = (instance.id.tier, instance.id.host, instance.component)
        if isinstance(answer, Problem):
            return InstanceState(*common, "unknown", answer.what, None)
        found = answer["instances"].get(str(instance.id))
        if found is None:
            return InstanceState(*common, "failed", "not applied yet: nospof up", None)
        return InstanceState(*common, found["health"], found["why"], found["leads"])

    def logs(self, target: str, lines: int, since: str) -> dict[str, str | Problem]:
        """By host, the last `lines` lines of a host's, a tier's or an instance's services, oldest first.

        `since`: not older than this, as systemd writes spans: 10m, 1h; "" for any. Raises WrongInput for a target there is not.
        """
        chosen: dict[str, list[str]] = {}
        for instance in self.topology.instances:
            if target in (str(instance.id), instance.id.tier, instance.id.host):
                chosen.setdefault(instance.id.host, []).append(str(instance.id))
        if not chosen:
            tiers = sorted({instance.id.tier for instance in self.topology.instances})
            hosts = sorted(host.name for host in self.topology.hosts)
            what = f"there is no host, tier or instance {target}" if target else "nothing is named"
            raise WrongInput(what, fix=f"name a host ({', '.join(hosts)}), a tier ({', '.join(tiers)}) or TIER/HOST")
        common = {"phase": "logs", "lines": lines, "since": since}
        requests = [Trip(host, {**common, "instances": names}, {}, LOGS_S) for host, names in sorted(chosen.items())]
        answers = trips.send(self.hosts, requests)
        return {host: answer if isinstance(answer, Problem) else answer["text"] for host, answer in answers.items()}

    # --- doing -------------------------------------------------------------------------------------------------------
    def up(self, progress: Progress, shown: Plan | None = None) -> bool:
        """Make the hosts and everything on them as the file says; False when there was nothing to change.

        `shown`: the only plan that may be carried out; with another one Failed is raised, and no change is made.
        Raises Failed, Uncertain or WrongInput with what went wrong and where; what served before goes on serving.
        """
        with self.state.locked("up"):
            self.state.begin(self.stack.name)
            self.state.write_allotment(self.allotment)
            ca_change.settle(self.state)
            self._make_ready(progress)
            gathered = self._gathered(progress)
            rollout = self._rollout(progress, gathered, is_reading=False)
            plan, leaving = rollout.plan(), self._leaving()
            if shown is not None:
                self._with_hosts(plan).require_like(shown)
            rollout.refuse_exchange(leaving)
            for problem in plan.problems:
                progress.note(f"host {problem.host} does not answer and is left out: {problem.what}")
            if not self.is_lab:
                self.state.write(ZONE_FILE, "".join(f"{line}\n" for line in zone_lines(self.topology)))
            if plan.is_empty and not leaving:
                return False
            self._have_primaries_leave({*leaving, *plan.losing_units}, progress)
            if not plan.is_empty:
                rollout.apply(plan)
                gathered.remember()
            self._let_go(leaving, progress)
            return True

    def rollback(self, tier: str, progress: Progress) -> Release:
        """Give a tier's hosts the release before the newest, one host after the other, each healthy before the next.

        Raises WrongInput for a tier that runs nothing of the user's, Failed where there is nothing to go back to.
        """
        sources = sorted(
            {
                f"{tier}/{source.name}"
                for instance in self.topology.instances
                if instance.id.tier == tier
                for source in component_of(instance).sources
            }
        )
        if not sources:
            own = {instance.id.tier for instance in self.topology.instances if component_of(instance).sources}
            what = f"tier {tier} has no releases" if tier else "no tier is named"
            raise WrongInput(what, fix=f"name one of: {', '.join(sorted(own))}" if own else "")
        with self.state.locked("rollback"):
            older = {name: one_before(self.state, name) for name in sources}
            rollout = self._rollout(progress, self._gathered(progress, older), is_reading=False)
            plan = rollout.plan()
            rollout.refuse_exchange(self._leaving())
            if not plan.is_empty:
                rollout.apply(plan)
            for name in sources:
                forget_newest(self.state, name)
        return older[sources[0]]

    def replace_ca(self, progress: Progress) -> None:
        """Give the stack another CA, and every key and certificate anew; goes on where it was interrupted.

        Raises Failed where `up` would change something else, Uncertain where a host does not answer: it would go on
        believing the old CA alone, and so nobody else.
        """
        step = ca_change.under_way(self.state)
        why = "all hosts must believe the next CA before anything is issued by it"
        if step is None:
            self._require_everywhere(progress, why, "nospof up, then this again")
            with self.state.locked("rotate ca"):
                ca_change.begin(Vault(self.state, self.topology, is_reading=False))
            step = CaStep.TRUST
        while True:
            progress.phase(step.value)
            self.up(progress)
            self._require_everywhere(progress, why, "bring it back, then nospof rotate ca: it goes on from here")
            with self.state.locked("rotate ca"):
                if step is CaStep.FORGET:
                    ca_change.end(self.state)
                    return
                if step is CaStep.TRUST:
                    ca_change.issue_by_next(self.state)
                    step = CaStep.ISSUE
                else:
                    ca_change.forget_before(self.state)
                    step = CaStep.FORGET

    def replace_passwords(self, progress: Progress) -> tuple[str, ...]:
        """Give the stack other passwords, all of which a server can take two at once; goes on where it was interrupted.

        Returns the names of the passwords that are new. Raises Failed where `up` would change something else, Uncertain where
        a host does not answer or a copy of the accounts is behind: its callers would be refused.
        """
        change = password_change.under_way(self.state)
        why = "all servers must take the next passwords before anybody uses them, and nobody may use the old ones when they go"
        if change is None:
            names = self._require_everywhere(progress, why, "nospof up, then this again").vault.accepted_names
            if not names:
                raise WrongInput("nothing in this stack has a password that nospof made")
            with self.state.locked("rotate passwords"):
                Vault(self.state, self.topology, is_reading=False).prepare_next_passwords(names)
            change = password_change.under_way(self.state)
        names_changed = tuple(sorted(change.coming)) if change else ()
        while change is not None:
            progress.phase(change.step.value)
            self.up(progress)
            again = "bring it back, then nospof rotate passwords: it goes on from here"
            self._require_everywhere(progress, why, again)
            if change.step is PasswordStep.ADMIT:
                self._wait_for_copies(progress)
            with self.state.locked("rotate passwords"):
                change = password_change.next_step(self.state, change)
        return names_changed

    @property
    def password_step(self) -> PasswordStep | None:
        """The step in which a change of passwords was interrupted; None while none is under way."""
        change = password_change.under_way(self.state)
        return change.step if change else None

    def _wait_for_copies(self, progress: Progress) -> None:
        """Wait until every copy of a database has what its primary had when this began: accounts come to it like all data."""
        progress.phase("waiting for the copies to have it too")
        began_s = time.monotonic()
        while True:
            waited_s = time.monotonic() - began_s
            behind = [host for tier in agents.tiers(self.topology) for host in agents.behind(self.database(tier), waited_s)]
            if not behind:
                return
            if waited_s > COPIES_S:
                raise Uncertain(
                    f"the copy of {', '.join(behind)} is behind: it may not take the next passwords yet",
                    why="who reads there would be refused",
                    fix="wait for it to catch up (nospof status), then nospof rotate passwords: it goes on from here",
                )
            time.sleep(0.2)

    def _require_everywhere(self, progress: Progress, why: str, fix: str) -> Rollout:
        """Raise unless every host answers and is all that the file says; returns what looked."""
        rollout = self._rollout(progress, self._gathered(progress), is_reading=True)
        plan = self._with_hosts(rollout.plan())
        if plan.problems:
            what = "; ".join(f"host {problem.host} does not answer: {problem.what}" for problem in plan.problems)
            raise Uncertain(what, why=why, fix=fix)
        if plan.changes:
            raise Failed(f"the hosts are not what the file says: {len(plan.changes)} changes are to be made", fix=fix)
        return rollout

    def preflight(self) -> list[Check]:
        """What was looked at on the servers that are not this stack's yet; [] in a lab. Changes nothing."""
        return [] if self.is_lab else preflight(self.topology, self.servers, self.state.stack_id)

    def _make_ready(self, progress: Progress) -> None:
        """Have hosts on which something can be begun."""
        if self.is_lab:
            self._bring_hosts_up(progress)
            return
        progress.phase("looking at the servers")
        known = self.state.servers()
        # One that was taken before and is dark now keeps nobody from changing the others.
        _refuse_unfit([check for check in self.preflight() if check.is_reached or check.host not in known], progress)
        self.state.write_servers({**known, **self._told_servers()})

    def _let_go(self, leaving: Sequence[str], progress: Progress) -> None:
        """Take away what is no longer in the file: a lab's host with its disk; on a server what is ours, and no data."""
        if self.is_lab:
            self.lab.trim(progress.host)
            return
        gone = _retire(self.servers, leaving, self.state.stack_id, progress)
        self.state.write_servers({name: server for name, server in self.state.servers().items() if name not in gone})

    def _have_primaries_leave(self, hosts: Collection[str], progress: Progress) -> None:
        """Have each of `hosts` that leaves a tier hand over what it leads there, while all can still be undone.

        Raises Failed where nobody can take over, Uncertain where it is not known whether somebody did. A host that does not
        answer is replaced by itself.
        """
        for tier, members in agents.tiers(self.topology).items():
            for host in sorted(set(hosts) - set(members)):
                answer = self._leave(tier, host)
                if answer.get("ok") and answer.get("to"):
                    progress.host(host, f"leaves tier {tier}: handed over to {answer['to']} in {answer['ms']} ms")
                elif not answer.get("ok") and answer.get("outcome") != "not-asked":
                    fix = "put the host back into the stack file, or mend what keeps the others from taking over"
                    raise _not_done(answer, f"{host} leads tier {tier} and cannot leave it", fix)

    def _leave(self, tier: str, host: str) -> dict[str, Any]:
        """Ask again for a while: what keeps others from taking over, a long transaction for one, often passes."""
        end_s = time.monotonic() + LEAVES_WITHIN_S
        while True:
            answer = self._ask(tier, host, {"do": "leave"}, LEAVE_S)
            if answer.get("outcome") not in ("refused", "undone") or time.monotonic() >= end_s:
                return answer
            time.sleep(0.3)

    # --- asking the failover agents ----------------------------------------------------------------------------------
    def database_tier(self, tier: str = "") -> str:
        """The tier that is meant: `tier`, or the only one whose primary is led by agents. Raises WrongInput."""
        known = agents.tiers(self.topology)
        if tier in known:
            return tier
        if tier or not known:
            what = f"tier {tier} has no failover agents" if tier else "no tier of this stack has failover agents"
            raise WrongInput(what, fix=f"name one of: {', '.join(known)}" if known else "")
        if len(known) > 1:
            raise WrongInput("more than one tier has a primary", fix=f"name one of them with --tier: {', '.join(known)}")
        return next(iter(known))

    def database(self, tier: str) -> Database:
        """How `tier` is now, as its agents say, within about two seconds."""
        hosts = agents.tiers(self.topology)[tier]
        answers = trips.ask(self.hosts, [self._asked(tier, host, {"do": "status"}, 1.0) for host in hosts])
        told = {host: answer if isinstance(answer, Problem) else answer["answer"] for host, answer in answers.items()}
        return agents.database(tier, hosts, told)

    def switchover(self, tier: str, to: str = "") -> Switched:
        """Pass the role of primary on to `to`, or with "" to whoever is fit; no acknowledged write is lost.

        Raises WrongInput, Failed when it was refused or undone, Uncertain when it is not known.
        """
        if to:
            self._refuse_strange_host(tier, to)
        now = self.database(tier)
        if not now.primary or not now.host(now.primary).answers:
            said = now.host(now.primary).says if now.primary else now.why
            raise Uncertain(
                f"not switched over: the agent of the primary {now.primary or '(nobody is known)'} does not answer",
                why=said,
                fix="a primary that is lost is replaced by itself; nospof status shows whether it was, and why not",
            )
        answer = self._ask(tier, now.primary, {"do": "switchover", "to": to}, SWITCHOVER_S)
        if not answer.get("ok"):
            raise _not_done(answer, "not switched over", "look at nospof status, then try again")
        return Switched(tier, answer["from"], answer["to"], answer["ms"], answer["phases"])

    def promote(self, tier: str, host: str) -> Switched:
        """Make `host` primary with what it has, whatever others may have beyond. Raises WrongInput, Failed, Uncertain."""
        self._refuse_strange_host(tier, host)
        answer = self._ask(tier, host, {"do": "promote", "by": who()}, PROMOTE_S)
        if not answer.get("ok"):
            raise _not_done(answer, f"{host} was not promoted", "look at nospof status, then try again")
        if not answer["takes_writes"]:
            raise Uncertain(
                f"{host} is primary now, but is not known to take writes yet",
                why=answer["says"],
                fix="look at nospof status",
            )
        return Switched(tier, answer["from"], answer["to"], answer["ms"], {})

    def pause(self, tier: str, for_s: float) -> float:
        """Have nobody take over by itself for so long; returns the end (seconds since the epoch). Raises Failed, Uncertain."""
        answer = self._ask_anybody(tier, {"do": "pause", "for_s": for_s, "by": who()}, "not paused")
        return float(answer["until"])

    def resume(self, tier: str) -> None:
        """End a pause. Raises Failed, Uncertain."""
        self._ask_anybody(tier, {"do": "resume", "by": who()}, "not resumed")

    def _refuse_strange_host(self, tier: str, host: str) -> None:
        known = agents.tiers(self.topology)[tier]
        if host not in known:
            raise WrongInput(f"there is no host {host} in tier {tier}", fix=f"name one of: {', '.join(known)}")

    def _ask_anybody(self, tier: str, request: dict[str, Any], what: str) -> dict[str, Any]:
        """Ask the agents one after the other until one was reached: any can change what all agree on."""
        now, answer = self.database(tier), {"ok": False, "outcome": "not-asked", "why": "no agent answers"}
        for view in sorted(now.hosts, key=lambda view: view.host != now.primary):
            if view.answers:
                answer = self._ask(tier, view.host, request, PAUSE_S)
            if answer.get("outcome") != "not-asked":
                break
        if not answer.get("ok"):
            raise _not_done(answer, what, "look at nospof status, then try again")
        return answer

    def _ask(self, tier: str, host: str, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer of one agent; where the host gave none, one that says so."""
        answer = trips.send(self.hosts, [self._asked(tier, host, request, limit_s)])[host]
        if not isinstance(answer, Problem):
            told: dict[str, Any] = answer["answer"]
            return told
        if answer.kind == "defect":
            raise NospofError(f"host {host}: {answer.what}", detail=answer.detail)
        outcome = {"unknown": "unknown", "unreachable": "not-asked"}.get(answer.kind, "refused")
        return {"ok": False, "outcome": outcome, "why": f"host {host}: {answer.what}"}

    def _asked(self, tier: str, host: str, request: dict[str, Any], limit_s: float) -> Trip:
        path = agents.socket_of(self.topology, tier)
        sent = {"phase": "agent", "stack_id": self.state.stack_id, "socket": path, "ask": request, "limit_s": limit_s}
        return Trip(host, sent, {}, limit_s + WAY_S if limit_s > 1.0 else STATUS_S)

    def ask_entrance(self) -> Answer:
        """Request the first site through the entrance, as a visitor would, until it answers well or the time is over.

        With several addresses at each of them: the answer is that of the last. Raises Failed with the last answer when one of
        them gave none that was good within 15 s.
        """
        if not self.is_lab:
            return [self.ask_at(address) for address in self.entrance_addresses][-1]
        # Where there is one address the forwarder leads to it, and that is enough.
        for address in self.entrance_addresses if len(self.entrance_addresses) > 1 else ():
            self._answer(partial(self._request_from_client, address))
        return self._answer(self._request)

    def ask_at(self, address: str) -> Answer:
        """The same at one address, asked from one of the servers, if possible one that holds no VIP itself."""
        return self._answer(partial(self._request_from, self._host_beside_the_vips(), address))

    def _answer(self, request: Callable[[], int]) -> Answer:
        start, last = time.monotonic(), ""
        while time.monotonic() - start < FIRST_ANSWER_S:
            try:
                status = request()
                if status < http.client.INTERNAL_SERVER_ERROR:
                    return Answer(self.url, status, time.monotonic() - start)
                last = f"answered {status}"
            except (OSError, http.client.HTTPException) as error:
                last = str(error) or type(error).__name__
            time.sleep(0.1)
        raise Failed(
            f"the site does not answer well: {self.url} {last}",
            why="every part reported to be healthy, and the whole is not",
            fix="nospof status shows every part; nospof shell STACK HOST lets you look",
        )

    def _request(self) -> int:
        port = self.lab.url_port
        name = f"{self.stack.name}.localhost"
        connection: http.client.HTTPConnection
        if self.url.startswith("https"):
            context = ssl.create_default_context(cafile=str(self.ca_file))
            connection = NamedHTTPSConnection("127.0.0.1", port or 0, name, context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port or 0, timeout=5)
        sites = self.topology.promised_sites(self.entrance) if self.entrance else ()
        try:
            connection.request("GET", sites[0].path if sites else "/", headers={"Host": name})
            return connection.getresponse().status
        finally:
            connection.close()

    def _host_beside_the_vips(self) -> str:
        """One of the servers, if there is one that does not hold a VIP itself."""
        holders = {host for held in self.status().holders.values() for host in held}
        hosts = [host.name for host in self.topology.hosts]
        return next((host for host in hosts if host not in holders), hosts[0])

    def _request_from(self, asks: str, address: str) -> int:
        """The same from the server `asks`, since this machine may not be where visitors come from. Raises OSError."""
        outcome = self.servers.run(asks, self._curl(address, "/etc/nospof/tls/ca.pem"), timeout_s=10)
        if not isinstance(outcome, Finished):
            raise OSError(f"cannot be asked from {asks}: {outcome.reason}")
        return _status_of(outcome.stdout.decode(), asks, address)

    def _request_from_client(self, address: str) -> int:
        """The same from the lab's client at one address. Raises OSError."""
        argv = self.lab.network_argv(CLIENT, self._curl(address, str(self.ca_file)))
        try:
            outcome = subprocess.run(argv, capture_output=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            raise OSError(f"gives no answer to {CLIENT} at {address}: curl does not end") from None
        return _status_of(outcome.stdout.decode(), CLIENT, address)

    def _curl(self, address: str, ca_file: str) -> list[str]:
        """Ask for the first site at one of its addresses; prints the status, and why there is none."""
        is_https = self.entrance is not None and self.entrance.listen.port == HTTPS
        port = self.entrance.listen.port if self.entrance else HTTPS
        url = f"{'https' if is_https else 'http'}://{self._domain}{'' if is_https else f':{port}'}/"
        argv = ["curl", "--silent", "--output", "/dev/null", "--max-time", "5", "--write-out", "%{http_code} %{errormsg}"]
        return [*argv, "--cacert", ca_file, "--resolve", f"{self._domain}:{port}:{address}", url]

    def _bring_hosts_up(self, progress: Progress) -> None:
        hosts = tuple(LabHost(host.name, host.zone, host.address) for host in self.topology.hosts)
        port = self.entrance.listen.port if self.entrance else None
        targets = tuple((address, port) for address in self.entrance_addresses) if port else ()
        progress.phase("hosts")
        suite = suite_of(self.topology)
        self.lab.up(LabPlan(self.state.lab_name, hosts, image_packages(self.topology), targets, suite), progress.host)

    def _gathered(self, progress: Progress, older: Mapping[str, Release] | None = None) -> Gathered:
        gathering = Gathering(self.stack.file.absolute().parent, self.state.folder / "cache", progress.phase)
        return Gathered(gathering, self.state, older or {})

    def _rollout(self, progress: Progress, gathered: Gathered, *, is_reading: bool) -> Rollout:
        vault = Vault(self.state, self.topology, is_reading)
        choices = {name: hosts[0] for name, hosts in self.allotment.placed.items() if len(hosts) == 1}
        return Rollout(self.topology, choices, vault, self.hosts, gathered, progress)


def _status_of(said: str, asks: str, address: str) -> int:
    status, _, why = said.partition(" ")
    if status in ("", "000"):
        raise OSError(f"gives no answer to {asks} at {address}: {why}")
    return int(status)


def _refuse_unfit(checks: Sequence[Check], progress: Progress) -> None:
    """Tell warnings; raise Failed with all that keeps a server from becoming a host, of all servers at once."""
    for check in checks:
        if check.verdict == "WARN":
            progress.note(f"{check.host}: {check.name}: {check.what}" + (f" ({check.fix})" if check.fix else ""))
    bad = [check for check in checks if check.verdict in ("FAIL", "UNKNOWN")]
    if bad:
        hosts = sorted({check.host for check in bad})
        raise Failed(
            f"{', '.join(hosts)} cannot be taken as {'it is' if len(hosts) == 1 else 'they are'}: nothing was begun",
            why="nospof adopts and overwrites nothing that is not its own",
            fix="nospof preflight shows everything that was looked at",
            detail="\n".join(f"{check.host:<12} {check.name:<10} {check.what}\n{'':<12} fix: {check.fix}" for check in bad),
        )


def _with_role(state: InstanceState, view: AgentView | None) -> InstanceState:
    if view is None:
        return state
    return replace(state, role=view.role, lag_s=view.lag_s, is_voter=view.is_voter, qps=view.qps, says=view.says)


def _not_done(answer: Mapping[str, Any], what: str, fix: str) -> NospofError:
    """The error for a request that an agent did not grant, by what is known of it."""
    outcome, why = answer.get("outcome"), str(answer.get("why", ""))
    if outcome == "unknown":
        return Uncertain("what happened is not known", why=why, fix="look at nospof status before anything else")
    if outcome == "not-asked":
        return Uncertain(f"{what}: nothing was changed", why=why, fix=fix)
    return Failed(f"{what}: nothing is changed", why=why, fix=fix)


def lab_of(stack_file: Path) -> Lab | None:
    """The lab of the stack in `stack_file`, whatever is written there now; None where there is none."""
    name = State(stack_file).lab_name
    lab = Lab.open(name) if name else None
    return lab if lab and lab.exists else None


def take_down(stack_file: Path, progress: Progress) -> None:
    """Remove the lab's hosts and all they stored; secrets and choices stay. Works with a stack file that is wrong or gone."""
    with State(stack_file).locked("down"):
        lab = lab_of(stack_file)
        if lab is not None:
            progress.phase("removing the lab")
            lab.down()


def way_to(servers: Mapping[str, Server]) -> OpenSsh:
    """The way to real servers by the user's OpenSSH; its connections end with this process. NOSPOF_SSH replaces `ssh`."""
    way = OpenSsh(servers, lambda: ask_secret("password for sudo on the servers: "), os.environ.get("NOSPOF_SSH", "ssh"))
    atexit.register(way.close)
    return way


def take_servers_down(stack_file: Path, way: OpenSsh, progress: Progress) -> None:
    """Stop and remove all that is the stack's on every server, but data and packages. Works with a stack file that is wrong.

    Raises Uncertain where some did not answer; these are known until it is done.
    """
    state = State(stack_file)
    with state.locked("down"):
        names = sorted(state.servers())
        progress.phase("stopping everything on all servers")
        left = sorted(set(names) - set(_retire(way, names, state.stack_id, progress)))
        state.write_servers({name: server for name, server in state.servers().items() if name in left})
    if left:
        raise Uncertain(
            f"{', '.join(left)} did not do it: what runs there goes on", fix="bring it back, then nospof down again"
        )


def _retire(way: OpenSsh, names: Sequence[str], stack_id: str, progress: Progress) -> tuple[str, ...]:
    """Stop and remove all that is this stack's on these servers, but data and packages; names those where it is done."""
    stores = sorted({folder for kind in Component.kinds.values() for folder in kind.stores})
    request = {"phase": "retire", "by": who(), "stack_id": stack_id, "stores": stores}
    done = []
    for name, answer in trips.send(way, [Trip(name, request, {}, RETIRES_WITHIN_S) for name in names]).items():
        if isinstance(answer, Problem):
            progress.note(f"host {name} is as it was: {answer.what}")
        else:
            kept = f"; data stays in {', '.join(answer['kept'])}" if answer["kept"] else ""
            progress.host(name, f"stopped and removed{kept}")
            done.append(name)
    return tuple(done)


class NamedHTTPSConnection(http.client.HTTPSConnection):
    """An HTTPS connection to one address that asks for, and verifies, another name."""

    def __init__(self, address: str, port: int, name: str, context: ssl.SSLContext, timeout_s: float = 5.0) -> None:
        super().__init__(address, port, timeout=timeout_s, context=context)
        self._name, self._ssl_context = name, context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._ssl_context.wrap_socket(self.sock, server_hostname=self._name)
