"""Every fault on real hosts: it is what it says, its healing takes away all of it and nothing else, whoever heals.

One small stack in which each kind of instance is found. A new fault is tested without a line here, as long as it can be made
somewhere in this stack.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence

import pytest
from live_site import with_the_shop

from nospof.deployment import Deployment
from nospof.drills import faults as _all_faults  # noqa: F401 - makes them known
from nospof.drills import undo
from nospof.drills.fault import Evidence, Fault, fault_of, targets
from nospof.drills.ground import Ground
from nospof.errors import NospofError
from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

Snapshot = dict[str, list[str]]
INJECTED_WITHIN_S, AS_BEFORE_WITHIN_S = 10.0, 60.0
STACK = """\
name: small
domain: small.example.com
hosts:
  one: {zone: a}
  two: {zone: b}
  three: {zone: c}
tiers:
  load-balancer: {component: haproxy, hosts: [one], to: web}
  web: {component: nginx, hosts: [two], to: app}
  app: {component: gunicorn, hosts: [two], source: ./app, module: "shop:app", to: database}
  database: {component: mariadb, hosts: [one, two], witness: three}
"""
# Where more than one can be broken, the first of these.
LIKED = ("web/two", "app/two", "database/two", "two", "b")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    live = with_the_shop(tmp_path_factory.mktemp("small"), STACK)
    try:
        live.nospof("up")
        live.settled_status()
        yield Ground(Deployment.load(live.file))
    finally:
        live.down()


@pytest.fixture(scope="module")
def whole(ground: Ground) -> Snapshot:
    """All hosts before the first fault, and before each."""
    return snapshot(ground, [host.name for host in ground.topology.hosts])


@pytest.mark.parametrize("name", sorted(Fault.kinds))
def test_fault_is_in_force_after_it_and_gone_after_healing(ground: Ground, whole: Snapshot, name: str) -> None:
    fault = somewhere(ground, name)
    hosts = fault.hosts(ground.topology)
    as_before(ground, whole, hosts)
    fault.heal(ground)
    assert not fault.lasts or not fault.injected(ground).is_so, "it is seen before it was made"
    assert not differences(ground, whole, hosts), "healing what was never broken changes something"
    try:
        fault.inject(ground)
        seen(lambda: fault.injected(ground), INJECTED_WITHIN_S)
    finally:
        heal(ground, fault)
    fault.heal(ground)
    assert fault.healed(ground).is_so
    assert not fault.lasts or not fault.injected(ground).is_so
    as_before(ground, whole, fault.hosts(ground.topology))


def test_host_heals_itself_when_nobody_else_does(ground: Ground, whole: Snapshot) -> None:
    fault = fault_of({"fault": "process-stop", "target": "web/two"}, ground.topology)
    record = undo.arm(ground, fault, within_s=2.0 - undo.GRACE_S)
    fault.inject(ground)
    assert fault.injected(ground).is_so
    seen(lambda: fault.healed(ground), 10.0)
    undo.heal(ground, record)
    as_before(ground, whole, fault.hosts(ground.topology))


def test_healing_one_cut_leaves_the_other(ground: Ground) -> None:
    """Incident: the end of one silent drop ended all of them, and a drill went on without its fault."""
    first, second = (fault_of({"fault": "silent-drop", "target": host}, ground.topology) for host in ("two", "three"))
    try:
        first.inject(ground)
        second.inject(ground)
        second.heal(ground)
        assert second.healed(ground).is_so
        assert first.injected(ground).is_so
    finally:
        first.heal(ground)
        second.heal(ground)
    assert not first.injected(ground).is_so


def test_address_that_moves_falls_silent_with_its_host(ground: Ground) -> None:
    """Incident: rules by the hosts' own addresses let visitors through to the address that keepalived had brought there."""
    (vip,) = ground.topology.vips
    ping = f"ping -q -c 1 -W 1 {vip.address} >/dev/null && echo answered || echo silent"
    fault = fault_of({"fault": "silent-drop", "target": "one"}, ground.topology)
    assert ground.sh("client", ping) == "answered\n"
    try:
        fault.inject(ground)
        assert ground.sh("client", ping) == "silent\n"
    finally:
        fault.heal(ground)
    assert ground.sh("client", ping) == "answered\n"


def test_stop_of_a_database_ends_its_server_too(ground: Ground) -> None:
    """Incident: only what systemd starts was killed, and the server that belongs to the agent went on."""
    fault = fault_of({"fault": "process-stop", "target": "database/three"}, ground.topology)
    try:
        fault.inject(ground)
        assert fault.injected(ground).is_so
        assert ground.sh("three", "pgrep mariadbd || true") == ""
    finally:
        heal(ground, fault)
    assert wait_until(lambda: ground.sh("three", "pgrep mariadbd || true") != "", AS_BEFORE_WITHIN_S)


# --- what the tests share ------------------------------------------------------------------------------------------------
def somewhere(ground: Ground, name: str) -> Fault:
    """The fault at a place of the stack where it can be made."""
    kind = Fault.kinds[name]
    known = targets(kind, ground.topology)
    made = [fault_of({"fault": name, "target": target}, ground.topology) for target in (*LIKED, *known) if target in known]
    reasons = [fault.unavailable(ground) for fault in made]
    if all(reasons):
        pytest.skip(reasons[0])
    return next(fault for fault, reason in zip(made, reasons, strict=True) if not reason)


def heal(ground: Ground, fault: Fault) -> None:
    """As the engine does: again, where a host is still on its way down."""

    def is_healed() -> bool:
        try:
            fault.heal(ground)
            return wait_until(lambda: fault.healed(ground).is_so, fault.comes_back_s, step_s=0.2)
        except NospofError:
            return False

    assert wait_until(is_healed, 2 * fault.comes_back_s, step_s=0.2), fault.healed(ground).says


def seen(look: Callable[[], Evidence], limit_s: float) -> None:
    found: list[Evidence] = []

    def is_so() -> bool:
        found.append(look())
        return found[-1].is_so

    assert wait_until(is_so, limit_s, step_s=0.1), found[-1].says


def as_before(ground: Ground, whole: Snapshot, hosts: Sequence[str]) -> None:
    """Wait until nothing on `hosts` differs from what was before the first fault."""
    assert wait_until(lambda: not differences(ground, whole, hosts), AS_BEFORE_WITHIN_S, step_s=0.3), differences(
        ground, whole, hosts
    )


def differences(ground: Ground, whole: Snapshot, hosts: Sequence[str]) -> dict[str, list[str]]:
    try:
        now = snapshot(ground, hosts)
    except NospofError as error:
        return {"not seen": [str(error)]}
    return {what: sorted(set(lines) ^ set(whole[what])) for what, lines in now.items() if lines != whole[what]}


# Without what a running system changes by itself, as the agents do their fences.
LOOK = r"""
systemctl list-units --all --plain --no-legend --type=service,socket | awk '{print "unit", $1, $3, $4}'
systemctl list-timers --all --plain --no-legend | awk '/nospof/ {print "timer", $0}'
awk '{print "mount", $1, $2, $3}' /proc/mounts | grep -v /run/credentials
nft list tables | grep -v nospof_fence | sed 's/^/nft /'
find /run/systemd/system -type f,d,l -printf 'drop-in %p\n'
find /etc /srv /usr/lib/nospof -xdev -type f -exec sha256sum {} + | sed 's/^/file /'
find /etc /srv -xdev -printf 'entry %p %u %g %m %y\n'
find /run /var /var/lib/nospof -maxdepth 1 -name '*-????????' -printf 'left %p\n'
[ $(df --block-size=M --output=avail / | tail -1 | tr -dc 0-9) -lt 4096 ] || echo disk has room
cat /sys/fs/cgroup/memory.max 2>/dev/null | sed 's/^/memory /' || true
"""


def snapshot(ground: Ground, hosts: Sequence[str]) -> Snapshot:
    """All that a fault may leave behind, on hosts and in the network."""
    found = {host: sorted(ground.sh(host, LOOK).splitlines()) for host in hosts}
    rules = among_the_bridges(ground, "nft", "list", "ruleset").splitlines()
    links = json.loads(among_the_bridges(ground, "ip", "-json", "link"))
    cables = [" ".join([link["ifname"], link["qdisc"], link["operstate"], link.get("master", "")]) for link in links]
    return {**found, "network": [*rules, *sorted(cables)]}


def among_the_bridges(ground: Ground, *argv: str) -> str:
    return subprocess.run(ground.lab.switch_argv(argv), capture_output=True, text=True, check=True).stdout
