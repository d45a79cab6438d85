# ruff: noqa: T201 - what is printed is the result
"""Stacks that are spoiled on purpose: does what docs/reference/planted-defects.md names find each?

As root: `PYTHONPATH=tests/shared .venv/bin/python tests/bench/planted.py [NUMBERS...]`. Some 45 s for each that a drill must
find, in one lab. Prints a row per defect; exit code 1 when one was found by nobody who was to find it.
"""

from __future__ import annotations

import secrets
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from live_site import EXAMPLE, LiveSite

from nospof.analysis.findings import findings
from nospof.analysis.structure import structure
from nospof.drills import engine
from nospof.drills.drill_file import DrillFile
from nospof.drills.engine import NotWell, Stage
from nospof.drills.fault import fault_of
from nospof.drills.ground import Ground
from nospof.drills.guard import guarded
from nospof.drills.result import Agreement, DrillResult
from nospof.drills.visitors import Rates
from nospof.errors import NospofError
from nospof.lab.machine import wait_until

LB, WEB, DB = ("lb1", "lb2"), ("web1", "web2"), ("db1", "db2", "w1")
HAPROXY, KEEPALIVED = "/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"
RATES = Rates(reads=30, writes=15)
Plant = Callable[["Spoiled"], object]


@dataclass
class Spoiled:
    """The example, brought up, and what is done to spoil it; everything is put back at the end."""

    site: LiveSite
    undo: list[Callable[[], object]]

    def ground(self) -> Ground:
        return Ground(self.site.deployment())

    def sh(self, host: str, script: str, *, undo: str = "") -> str:
        """Run a script on a host; `undo` is run there at the end."""
        if undo:
            self.undo.append(lambda: self.site.on(host, "sh", "-c", undo))
        return self.site.on(host, "sh", "-c", script)

    def edit(self, hosts: Sequence[str], path: str, sed: str, then: str) -> None:
        """Change a file on hosts and make its daemon notice; the file is put back at the end."""
        kept = f"/root/kept-{Path(path).name}"
        for host in hosts:
            self.sh(host, f"cp -p {path} {kept}", undo=f"cp -p {kept} {path}; {then}")
            self.sh(host, f"sed -i -E {shlex.quote(sed)} {path}; ! cmp -s {path} {kept}; {then}")

    def drill(self, *faults: tuple[str, str]) -> DrillResult | NospofError:
        """Break these at once, and say what came of it, or why it was not even begun."""
        ground = self.ground()
        folder = self.site.folder / "drills" / secrets.token_hex(3)
        stage = Stage(ground, structure(ground.topology).of_visitors(), folder, lambda _: None, RATES)
        plain = tuple({"fault": fault, "target": target} for fault, target in faults)
        try:
            with guarded(ground):
                return engine.run(stage, DrillFile(name="planted", faults=plain).drill(ground))
        except NospofError as error:
            return error


@dataclass(frozen=True)
class Defect:
    number: int
    name: str
    plant: Plant
    faults: tuple[tuple[str, str], ...] = ()
    is_found: Callable[[DrillResult | NospofError], str] = lambda _: ""
    """What was seen that shows the defect; "" when nothing does."""


# --- what shows a defect -----------------------------------------------------------------------------------------------------
def down(result: DrillResult | NospofError) -> str:
    """A goal is down that was foretold up."""
    goals = result.goals if isinstance(result, DrillResult) else ()
    wrong = [one for one in goals if one.agreement is Agreement.OPTIMISTIC]
    return ", ".join(f"{one.goal} foretold {one.predicted}, seen {one.seen}" for one in wrong)


def longer(goal: str) -> Callable[[DrillResult | NospofError], str]:
    """Away for longer than foretold."""

    def found(result: DrillResult | NospofError) -> str:
        seen = result.goal(goal) if isinstance(result, DrillResult) else None
        if not seen or seen.outage_s is None or seen.predicted_outage_s is None or seen.outage_s <= seen.predicted_outage_s:
            return ""
        return f"{goal} away for {seen.outage_s:.1f} s, foretold at most {seen.predicted_outage_s:.1f} s"

    return found


def fails(check: str) -> Callable[[DrillResult | NospofError], str]:
    def found(result: DrillResult | NospofError) -> str:
        checks = result.checks if isinstance(result, DrillResult) else ()
        return next((f"{one.name}: {one.reason}" for one in checks if one.name == check and one.result == "fail"), "")

    return found


def refuses(result: DrillResult | NospofError) -> str:
    return f"refuses to begin: {result.why}" if isinstance(result, NotWell) else ""


def either(*ways: Callable[[DrillResult | NospofError], str]) -> Callable[[DrillResult | NospofError], str]:
    return lambda result: next((said for way in ways if (said := way(result))), "")


# --- the defects -------------------------------------------------------------------------------------------------------------
def no_health_tracking(stack: Spoiled) -> None:
    stack.edit(LB, KEEPALIVED, r"/^    track_(file|script) \{/,/^    \}/d", "systemctl reload keepalived")


def checks_say_yes(stack: Spoiled) -> None:
    nobody_asks = r"s/^(    server .*) check /\1 /; s/^(    server .*) track [^ ]+/\1/"
    stack.edit(LB, HAPROXY, nobody_asks, "systemctl reload haproxy")


def health_says_yes(stack: Spoiled) -> None:
    """The application's own health no longer tells that its way to the database is gone."""
    drop_in = "/run/systemd/system/nospof-app.service.d/planted.conf"
    blind = "[Service]\\nEnvironment=NOSPOF_BESIDE= NOSPOF_NAMES=\\n"
    again = "systemctl daemon-reload; systemctl restart nospof-app"
    for host in WEB:
        stack.sh(
            host,
            f"mkdir -p $(dirname {drop_in}); printf '{blind}' >{drop_in}; {again}",
            undo=f"rm {drop_in}; {again}",
        )


def health_includes_the_database(stack: Spoiled) -> None:
    stack.edit(LB, HAPROXY, r"s#uri /health #uri /ready #", "systemctl reload haproxy")


def vrrp_blocked(stack: Spoiled) -> None:
    rules = "table ip planted { chain in { type filter hook input priority -200; ip protocol 112 drop; }; }"
    for host in LB:
        stack.sh(host, f"echo '{rules}' | nft -f -", undo="nft delete table ip planted")
    ground = stack.ground()
    wait_until(lambda: any(len(hosts) > 1 for hosts in ground.deployment.status(10).holders.values()), 20)


def too_few_connections(stack: Spoiled) -> None:
    stack.edit(LB, HAPROXY, r"s/maxconn 256/maxconn 1/; s/timeout queue .*/timeout queue 200ms/", "systemctl reload haproxy")


def deaf_router(stack: Spoiled) -> None:
    """A stopped process would be replaced by the watch over it, so another that does nothing runs in its place."""
    unit = "nospof-database-router-lead.service"
    drop_in = f"/run/systemd/system/{unit}.d/planted.conf"
    deaf = "[Service]\\nExecStart=\\nExecStart=/bin/sleep infinity\\nExecStopPost=\\nWatchdogSec=0\\n"
    for host in WEB:
        stack.sh(
            host,
            f"mkdir -p $(dirname {drop_in}); printf '{deaf}' >{drop_in}; systemctl daemon-reload; systemctl restart {unit}",
            undo=f"rm {drop_in}; systemctl daemon-reload; systemctl restart {unit}",
        )


def nothing_synced(stack: Spoiled) -> None:
    statement = "SET GLOBAL sync_binlog=0, innodb_flush_log_at_trx_commit=0, sync_relay_log=0"
    for host in DB:
        stack.sh(host, f"mariadb -e '{statement}'")


def no_restart(stack: Spoiled) -> None:
    drop_in = "/run/systemd/system/nginx.service.d/planted.conf"
    stack.sh(
        "web1",
        f"mkdir -p $(dirname {drop_in}); printf '[Service]\\nRestart=no\\n' >{drop_in}; systemctl daemon-reload",
        undo=f"rm {drop_in}; systemctl daemon-reload; systemctl reset-failed nginx; systemctl start nginx",
    )


def certificate_ended(stack: Spoiled) -> None:
    ground = stack.ground()
    fault = fault_of({"fault": "certificate-expired", "target": "web/web2"}, ground.topology)
    stack.undo.append(lambda: fault.heal(ground))
    fault.inject(ground)


def address_remembered(stack: Spoiled) -> None:
    """For reading as for writing, and past the router: it is asked for at the address that the primary has now."""
    ground = stack.ground()
    address = ground.topology.host(ground.resolve("primary")).address
    there = rf"s/@database:330[67]/@{address}:3306/"
    stack.edit(WEB, "/etc/nospof/app.env", there, "systemctl restart nospof-app")


def one_server_known(stack: Spoiled) -> None:
    stack.edit(LB, HAPROXY, r"/^    server web2 /d", "systemctl reload haproxy")


def backup_alone(stack: Spoiled) -> None:
    backup = next(host for host in LB if host != stack.ground().resolve("holder"))
    stack.sh(backup, "systemctl disable --now keepalived 2>&1", undo="systemctl enable --now keepalived 2>&1")


def no_start_at_boot(stack: Spoiled) -> None:
    stack.sh("lb2", "systemctl disable haproxy 2>&1", undo="systemctl enable --now haproxy 2>&1")


def way_of_one_load_balancer(stack: Spoiled) -> None:
    backup = next(host for host in LB if host != stack.ground().resolve("holder"))
    address = stack.ground().topology.host(backup).address
    rules = f"table ip planted {{ chain in {{ type filter hook input priority -200; ip saddr {address} drop; }}; }}"
    stack.sh("web2", f"echo '{rules}' | nft -f -", undo="nft delete table ip planted")


def nothing(_: Spoiled) -> None:
    """What is spoiled is the stack file."""


OFF_WEB1, OFF_PRIMARY, KILL_WEB1 = ("host-off", "web1"), ("host-off", "primary"), ("process-kill", "web/web1")
FREEZE_WEB1 = ("process-freeze", "web/web1")
DEFECTS = (
    Defect(1, "address without health", no_health_tracking, (("process-stop", "load-balancer/{holder}"),), down),
    Defect(4, "health check says yes", checks_say_yes, (FREEZE_WEB1,), either(down, longer("serve"))),
    Defect(19, "health says yes", health_says_yes, (("process-stop", "database-router/web1"),), down),
    Defect(5, "health check includes the database", health_includes_the_database, (OFF_PRIMARY,), longer("serve")),
    Defect(6, "VRRP blocked", vrrp_blocked, (KILL_WEB1,), refuses),
    Defect(7, "too few connections", too_few_connections, (OFF_WEB1,), either(down, refuses)),
    Defect(8, "router hears nothing", deaf_router, (OFF_PRIMARY,), either(down, refuses)),
    Defect(9, "nothing is synced", nothing_synced, tuple(("host-off", host) for host in DB), fails("lost writes")),
    Defect(10, "no restart", no_restart, (KILL_WEB1,), fails("redundant again")),
    Defect(11, "certificate ended", certificate_ended, (OFF_WEB1,), either(down, refuses)),
    Defect(12, "address remembered", address_remembered, (OFF_PRIMARY,), down),
    Defect(13, "one server known", one_server_known, (OFF_WEB1,), down),
    Defect(14, "backup does not know the first", backup_alone, (KILL_WEB1,), refuses),
    Defect(15, "no start at boot", no_start_at_boot, (("host-off", "lb2"),), fails("redundant again")),
    Defect(18, "way of one load balancer", way_of_one_load_balancer, (OFF_WEB1, ("host-off", "holder")), down),
)
# Changes of the file, and the codes of which one must then be there and was not before.
IN_THE_FILE = {
    2: ("all voters in one zone", [("zone: b", "zone: a"), ("zone: c", "zone: a")], ("F202", "F204", "F211")),
    5: ("health check includes the database", [('module: "shop:app"', 'module: "shop:app"\n    health: /ready')], ("F208",)),
    16: ("both load balancers in one zone", [("lb2: {zone: b}", "lb2: {zone: a}")], ("F202", "F211")),
    17: ("no witness", [(", witness: w1", ""), ("  w1: {zone: c}\n", "")], ("F203", "F210", "F211")),
}


def found_by_check(changes: Sequence[tuple[str, str]]) -> set[str]:
    """The codes that `check` gives for the example with these changes, and not without them."""

    def codes(text: str) -> set[str]:
        with tempfile.TemporaryDirectory() as folder:
            site = LiveSite(Path(folder) / "stack")
            site.file.write_text(text)
            deployment = site.deployment()
            return {problem.code for problem in deployment.problems + findings(deployment.stack, deployment.topology)}

    text = spoiled = (EXAMPLE / "stack.yaml").read_text()
    for old, new in changes:
        assert old in spoiled, old
        spoiled = spoiled.replace(old, new)
    return codes(spoiled) - codes(text)


@contextmanager
def brought_up(folder: Path) -> Iterator[LiveSite]:
    site = LiveSite(folder, f"fail-{secrets.token_hex(3)}")
    try:
        site.nospof("up")
        yield site
    finally:
        site.down()


def tried(site: LiveSite, defect: Defect) -> tuple[str, str]:
    """What shows the defect, or "", and what the drill said as a whole."""
    spoiled = Spoiled(site, [])
    site.settled_status(120)
    try:
        defect.plant(spoiled)
        # Who holds the address may have changed by that.
        holder = spoiled.ground().resolve("holder") if "{holder}" in str(defect.faults) else ""
        result = spoiled.drill(*((fault, target.format(holder=holder)) for fault, target in defect.faults))
    finally:
        for undo in reversed(spoiled.undo):
            undo()
    said = f"{result.conclusion.value} {result.invalid}" if isinstance(result, DrillResult) else str(result)
    return defect.is_found(result), said


def main(words: Sequence[str]) -> int:
    chosen = {int(word) for word in words}
    missed = 0
    print("| # | defect | found by | what was seen |\n|---|---|---|---|")
    for number, (name, changes, wanted) in IN_THE_FILE.items():
        if not chosen or number in chosen:
            found = sorted(found_by_check(changes) & set(wanted))
            missed += not found
            print(f"| {number} | {name} | {'check' if found else '**nobody**'} | {', '.join(found)} |", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nospof-planted-")))
        site = stack.enter_context(brought_up(folder / "stack"))
        for defect in DEFECTS:
            if not chosen or defect.number in chosen:
                found, said = tried(site, defect)
                missed += not found
                by = "drill" if found else "**nobody**"
                print(f"| {defect.number} | {defect.name} | {by} | {found or said} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
