"""The example under load while one part of it is broken: how to break each, what visitors noticed, how it heals.

Used by tests/lab/test_failures.py, which asserts, and by tests/bench/failover.py, which compares with the budgets. The load
asks /health: load balancer, web server and application answer it, the database is not asked.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest import mock

from live_site import LiveSite

from nospof.apply.transport import Finished
from nospof.deployment import Deployment
from nospof.drills.workloads.http_get import Gap, History, Load, running
from nospof.lab.lab import HostState, Lab
from nospof.lab.machine import wait_until

HEALED_WITHIN_S, PATIENT_S = 180.0, 20.0
# Of the load, before and after the fault.
STEADY_S, WATCHED_S = 1.0, 4.0
KILL, STOP, CONT = "KILL", "STOP", "CONT"
HAPROXY, KEEPALIVED, NGINX, APP = "haproxy.service", "keepalived.service", "nginx.service", "nospof-app.service"
IS_UP = "2"  # srv_op_state; HAProxy 3.0, management.txt, "show servers state"


@dataclass(frozen=True)
class Written:
    """One entry: 201 it is there, 503 it is not, anything else nobody knows."""

    token: str
    status: int
    took_s: float


@dataclass(frozen=True)
class FailingSite:
    """The example, deployed in a lab of its own, and what can be done to it."""

    live: LiveSite
    deployment: Deployment

    @classmethod
    @contextlib.contextmanager
    def brought_up(cls, folder: Path) -> Iterator[FailingSite]:
        """Bring the example up in `folder`, yield it when all of it is well, and take everything down, come what may."""
        live = LiveSite(folder, f"fail-{secrets.token_hex(3)}")
        try:
            live.nospof("up")
            site = cls(live, live.deployment())
            site.heal()
            yield site
        finally:
            live.down()

    @property
    def lab(self) -> Lab:
        return self.deployment.lab

    @property
    def webs(self) -> tuple[str, ...]:
        return self._hosts_of("web")

    @property
    def holder(self) -> str:
        """The one load balancer that has the only address; anything but one is an error."""
        (address,) = self.deployment.entrance_addresses
        asked = {name: self.on(name, "ip", "-4", "-o", "address", "show") for name in self._hosts_of("load-balancer")}
        (holder,) = (name for name, said in asked.items() if f" {address}/" in said)
        return holder

    @property
    def primary(self) -> str:
        """The one host whose database takes writes; anything but one is an error."""
        asks = "curl -s -o /dev/null -w %{{http_code}} --cacert /etc/nospof/tls/ca.pem https://{}:8008/primary"
        on = [name for name in self._hosts_of("database") if self.lab.state(name) is HostState.RUNNING]
        asked = {name: self.on(name, "sh", "-c", f"{asks.format(name)}; true") for name in on}
        (primary,) = (name for name, said in asked.items() if said == "200")
        return primary

    def _hosts_of(self, tier: str) -> tuple[str, ...]:
        return tuple(i.id.host for i in self.deployment.topology.instances if i.id.tier == tier)

    # --- what is done to it ------------------------------------------------------------------------------------------
    def on(self, host: str, *argv: str, stdin: bytes = b"") -> str:
        """Run a command on a host, which must work; returns its output."""
        outcome = self.lab.run(host, argv, stdin)
        assert isinstance(outcome, Finished), f"{host}: {outcome}"
        assert outcome.exit_code == 0, f"{host}: {argv}: {outcome}"
        return outcome.stdout.decode()

    def signal(self, host: str, unit: str, signal: str) -> float:
        """Send `signal` to all processes of `unit`; returns a moment before which nothing had happened."""
        # Not `systemctl kill`: it is so slow that it also meets what systemd starts because of the death.
        group = f"/sys/fs/cgroup$(systemctl show --value -p ControlGroup {unit})/cgroup.procs"
        return self._kill(host, signal, f"cat {group}")

    def kill_main(self, host: str, unit: str) -> float:
        """Kill the main process of `unit`; returns a moment before that."""
        return self._kill(host, KILL, f"systemctl show --value -p MainPID {unit}")

    def kill_worker(self, host: str, unit: str) -> float:
        """Kill one of the processes that the main process of `unit` has started; returns a moment before that."""
        return self._kill(host, KILL, f"pgrep -P $(systemctl show --value -p MainPID {unit}) | head -1")

    def _kill(self, host: str, signal: str, pids: str) -> float:
        before = time.monotonic()
        self.on(host, "sh", "-c", f"kill -s {signal} $({pids})")
        return before

    def admin(self, balancer: str, command: str) -> str:
        """Give a command to HAProxy's admin socket."""
        return self.on(balancer, "socat", "-t5", "stdio", "/run/haproxy/admin.sock", stdin=f"{command}\n".encode())

    # --- its visitors ------------------------------------------------------------------------------------------------
    def load(self) -> Load:
        topology = self.deployment.topology
        return Load(self.deployment.entrance_addresses, topology.domain, self.deployment.ca_file, path="/health")

    @contextlib.contextmanager
    def under(self, load: Load) -> Iterator[Callable[[], History]]:
        """Run `load` on the client; what is yielded ends it and returns its history."""
        output = self.live.folder / f"{secrets.token_hex(4)}.jsonl"
        with running(load, output, partial(self.lab.network_argv, "client")) as run:
            yield run.finish

    def status_of(self, path: str = "/", body: bytes | None = None) -> int:
        """Ask once; 0 when nothing came."""
        return self.live.status_of(path, body)

    def write(self, token: str) -> int:
        """Write an entry; returns the status, 0 when no answer came."""
        entry = {"name": "drill", "message": f"entry {token}", "token": token}
        return self.status_of("/api/entries", json.dumps(entry).encode())

    @contextlib.contextmanager
    def writing(self) -> Iterator[list[Written]]:
        """Write entries one after the other, in a thread, until the block ends; what became of each is in the list then."""
        done, written = threading.Event(), list[Written]()

        def write() -> None:
            while not done.is_set():
                token, begun = f"w-{secrets.token_hex(6)}", time.monotonic()
                written.append(Written(token, self.write(token), time.monotonic() - begun))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            yield written
        finally:
            done.set()
            writer.join()

    def tokens(self) -> set[str]:
        """The tokens of all entries, from the primary."""
        status, text = self.live.ask("/api/tokens?limit=1000")
        assert status == 200, text
        return {entry["token"] for entry in json.loads(text)["tokens"]}

    # --- its health --------------------------------------------------------------------------------------------------
    def heal(self) -> float:
        """Give power to all hosts and wait until everything is as it should be; returns the seconds it took."""
        begin = time.monotonic()
        for host in self.deployment.topology.hosts:
            if self.lab.state(host.name) is not HostState.RUNNING:
                self.lab.power_on(host.name, wait=False)
        if not wait_until(lambda: not self.complaints(), HEALED_WITHIN_S, step_s=0.3):
            raise AssertionError(f"not healed after {HEALED_WITHIN_S:g} s: {self.complaints()}")
        return time.monotonic() - begin

    def complaints(self) -> list[str]:
        """What is not as it should be, as `nospof status` and the load balancers see it."""
        # Two seconds are promised to people who wait; on a busy machine a host that is well may need longer.
        with mock.patch("nospof.deployment.STATUS_S", PATIENT_S):
            status = self.deployment.status()
        found = [f"{problem.host}: {problem.what}" for problem in status.problems]
        found += [f"{seen.tier}/{seen.host}: {seen.health} {seen.why}" for seen in status.instances if seen.health != "ok"]
        found += [f"{name} is held by {hosts or 'nobody'}" for name, hosts in status.holders.items() if len(hosts) != 1]
        return found or [line for balancer in self._hosts_of("load-balancer") for line in self._not_in_rotation(balancer)]

    def _not_in_rotation(self, balancer: str) -> list[str]:
        rows = [line.split() for line in self.admin(balancer, "show servers state app").splitlines()[2:]]
        up = {row[3] for row in rows if row and row[5] == IS_UP}
        return [f"{balancer} sends nothing to {web}" for web in self.webs if web not in up]


# --- what visitors noticed -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Figures:
    """What a fault did to visitors. `after`: begun after it; `in_flight`: begun before, and not ended yet."""

    what: str
    cut: float
    after: History
    in_flight: History
    gap: Gap

    @property
    def in_flight_s(self) -> float:
        """How long after the fault the last of those in flight ended."""
        return self.in_flight.longest_wait_s(self.cut)

    def __str__(self) -> str:
        after = f"{len(self.after.requests)} begun after, {len(self.after.bad)} bad"
        in_flight = (
            f"{len(self.in_flight.requests)} in flight, {len(self.in_flight.bad)} bad, ended after {self.in_flight_s:.2f} s"
        )
        times = "p50 {:.3f} p99 {:.3f} max {:.3f}".format(*(self.after.latency_s(share) for share in (0.5, 0.99, 1)))
        late = f"load up to {self.after.most_late_s:.3f} s late"
        why = ", ".join(f"{count} × {why}" for why, count in (self.after.reasons() + self.in_flight.reasons()).items())
        return f"{self.what}: {after} · {in_flight} · gap {self.gap.length_s:.3f} · {times} · {late}{why and ' · ' + why}"


def suffer(
    site: FailingSite, what: str, fault: Callable[[], float], load: Load | None = None, watched_s: float = WATCHED_S
) -> Figures:
    """Break something under load. `fault` returns the moment from which on requests count as begun after it."""
    with site.under(load or site.load()) as finish:
        time.sleep(STEADY_S)
        cut = fault()
        time.sleep(watched_s)
        history = finish()
    return Figures(what, cut, history.between(cut), history.in_flight(cut), history.longest_gap(cut))


def holder_dark(site: FailingSite) -> Figures:
    return suffer(site, "load balancer host dark", partial(site.lab.power_off, site.holder))


def haproxy_killed(site: FailingSite) -> Figures:
    return suffer(site, "haproxy killed", partial(site.signal, site.holder, HAPROXY, KILL))


def haproxy_frozen(site: FailingSite) -> Figures:
    """Frozen while it is watched, and let go again."""
    holder = site.holder
    try:
        return suffer(site, "haproxy frozen", partial(site.signal, holder, HAPROXY, STOP), watched_s=8)
    finally:
        site.signal(holder, HAPROXY, CONT)


def keepalived_killed(site: FailingSite) -> Figures:
    return suffer(site, "keepalived killed", partial(site.signal, site.holder, KEEPALIVED, KILL))


def web_dark(site: FailingSite) -> Figures:
    return suffer(site, "web host dark", partial(site.lab.power_off, site.webs[0]))


def nginx_killed(site: FailingSite) -> Figures:
    return suffer(site, "nginx killed", partial(site.signal, site.webs[0], NGINX, KILL))


def gunicorn_killed(site: FailingSite) -> Figures:
    return suffer(site, "gunicorn killed", partial(site.kill_main, site.webs[0], APP))


def worker_killed(site: FailingSite) -> Figures:
    return suffer(site, "gunicorn worker killed", partial(site.kill_worker, site.webs[0], APP))


def primary_dark(site: FailingSite, load: Load) -> Figures:
    return suffer(site, "database primary's host dark", partial(site.lab.power_off, site.primary), load, watched_s=6)


def primary_killed(site: FailingSite, load: Load) -> Figures:
    kill = partial(site.signal, site.primary, "mariadb.service", KILL)
    return suffer(site, "database primary killed", kill, load)


def haproxy_reloaded(site: FailingSite) -> Figures:
    return _told(site, site.holder, HAPROXY, "reload")


def nginx_reloaded(site: FailingSite) -> Figures:
    return _told(site, site.webs[0], NGINX, "reload")


def app_reloaded(site: FailingSite) -> Figures:
    return _told(site, site.webs[0], APP, "reload")


def app_restarted(site: FailingSite) -> Figures:
    # Once: gunicorn does not hear a second one while its processes start, and then takes half a minute.
    return _told(site, site.webs[0], APP, "restart", times=1)


def _told(site: FailingSite, host: str, unit: str, verb: str, times: int = 3) -> Figures:
    """Under load of clients that keep their connections and send nothing twice."""

    def fault() -> float:
        before = time.monotonic()
        for _ in range(times):
            site.on(host, "systemctl", verb, unit)
        return before

    name = f"{unit.removesuffix('.service')} {verb}{f', {times} times' if times > 1 else ''}"
    return suffer(site, name, fault, replace(site.load(), connections=24), watched_s=3)
