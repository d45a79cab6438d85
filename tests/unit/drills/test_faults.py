"""Faults as values, and their shell text on this machine's own shell."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from tests.unit.stacks import NOTHING_ALLOTTED, example

from nospof.analysis.structure import Kind, Part, structure
from nospof.apply.state import State
from nospof.deployment import Deployment
from nospof.drills import faults as _all_faults  # noqa: F401 - makes them known
from nospof.drills import spoilt_file
from nospof.drills.fault import Fault, Target, fault_of, targets
from nospof.drills.faults.bridge import Bridge
from nospof.drills.faults.majorities_ring import MajoritiesRing
from nospof.drills.ground import Ground
from nospof.errors import WrongInput
from nospof.resolve import resolve
from nospof.stack.model import StackHost
from nospof.topology import Topology

STACK = example()
DEPLOYMENT = Deployment(STACK, resolve(STACK, NOTHING_ALLOTTED), State(STACK.file))
TOPOLOGY = DEPLOYMENT.topology
HOSTS = tuple(host.name for host in TOPOLOGY.hosts)
ENTRY = {"units": ["a.socket", "a.service"], "other_units": ["b.service"], "configurations": ["/etc/a.conf"], "probes": []}
GROUND = Ground(DEPLOYMENT, {host: {str(one.id): ENTRY for one in TOPOLOGY.on_host(host)} for host in HOSTS})
# One value of each fault; those that are not the default where there are parameters.
OTHERS: dict[str, dict[str, object]] = {
    "partition": {"beside": ["db2"], "with_visitors": True},
    "one-way": {"drops": "in"},
    "packet-loss": {"percent": 1},
    "clock": {"ahead_s": -60},
}


def made(name: str, **parameters: object) -> Fault:
    kind = Fault.kinds[name]
    return fault_of({"fault": name, "target": targets(kind, TOPOLOGY)[0], **parameters}, TOPOLOGY)


@pytest.mark.parametrize("name", sorted(Fault.kinds))
def test_fault_is_the_same_after_a_way_through_json(name: str) -> None:
    for fault in (made(name), made(name, **OTHERS.get(name, {}))):
        again = fault_of(json.loads(json.dumps(fault.plain())), TOPOLOGY)
        assert again == fault
        assert again.mark == fault.mark


def test_role_is_who_has_it_now_alone_or_as_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    led = {"primary": "db2", "replica": "db1"}
    monkeypatch.setattr(Ground, "_database_host", lambda _, role, tier: led[role] if tier == "database" else "")
    monkeypatch.setattr(Ground, "_holder", lambda _, name: f"lb2 holds {name}" if name else "lb2")
    assert [GROUND.resolve(word) for word in ("primary", "replica of database", "holder")] == ["db2", "db1", "lb2"]
    assert GROUND.resolve("database/primary") == "database/db2"
    assert GROUND.resolve("load-balancer/holder") == "load-balancer/lb2 holds load-balancer"
    assert [GROUND.resolve(name) for name in ("db1", "web/web1", "cpu/primaries")] == ["db1", "web/web1", "cpu/primaries"]
    with pytest.raises(WrongInput):
        GROUND.resolve("web/primary")


def test_faults_that_differ_in_anything_have_marks_of_their_own() -> None:
    all_of_them = [made(name) for name in Fault.kinds] + [made(name, **more) for name, more in OTHERS.items()]
    assert len({fault.mark for fault in all_of_them}) == len(all_of_them)


@pytest.mark.parametrize("name", sorted(Fault.kinds))
def test_fault_says_what_it_is_and_names_parts_of_the_stack(name: str) -> None:
    fault = made(name)
    assert fault.about.endswith(".")
    assert all(field.description for key, field in type(fault).model_fields.items() if key != "target")
    assert (fault.lost(TOPOLOGY) or frozenset()) <= set(structure(TOPOLOGY).parts)
    assert set(fault.hosts(TOPOLOGY)) <= set(HOSTS)


@pytest.mark.parametrize(
    ("plain", "says"),
    [
        ({"fault": "flood", "target": "db1"}, f"there is no fault flood\nfix: one of: {', '.join(sorted(Fault.kinds))}"),
        ({"fault": "host-off"}, "fault host-off: target: Field required\nfix: host-off has no parameters"),
        (
            {"fault": "host-off", "target": "db9"},
            "there is no host db9\nfix: one of: db1, db2, lb1, lb2, w1, web1, web2",
        ),
        ({"fault": "zone-off", "target": "db1"}, "there is no zone db1\nfix: one of: a, b, c"),
        (
            {"fault": "partition", "target": "db1", "beside": ["db8", "db9"]},
            "there is no host db8, db9\nfix: one of: db1, db2, lb1, lb2, w1, web1, web2",
        ),
        (
            {"fault": "packet-loss", "target": "db1", "percent": 100},
            """fault packet-loss: percent: Input should be less than or equal to 99
fix: percent: So many of a hundred packets, in each direction.""",
        ),
        (
            {"fault": "host-off", "target": "db1", "for_s": 3},
            "fault host-off: for_s: Extra inputs are not permitted\nfix: host-off has no parameters",
        ),
    ],
)
def test_wrong_fault_is_refused_with_what_is_right(plain: dict[str, object], says: str) -> None:
    with pytest.raises(WrongInput) as refused:
        fault_of(plain, TOPOLOGY)
    assert f"{refused.value.what}\nfix: {refused.value.fix}" == says


def with_more_hosts(count: int) -> Topology:
    more = tuple(StackHost(f"more{number}", "a") for number in range(count))
    return resolve(replace(STACK, hosts=(*STACK.hosts, *more)), NOTHING_ALLOTTED).topology


@pytest.mark.parametrize("more", range(4))
def test_ring_has_each_host_hear_a_majority_and_no_two_the_same(more: int) -> None:
    topology = with_more_hosts(more)
    names = [host.name for host in topology.hosts]
    ring = fault_of({"fault": "majorities-ring", "target": "web1"}, topology)
    assert isinstance(ring, MajoritiesRing)
    cut = {frozenset((host, other)) for host, unheard in ring.deaf(topology).items() for other in unheard}
    assert len(cut) == sum(len(unheard) for unheard in ring.deaf(topology).values()), "a pair is cut twice"
    heard = {host: frozenset(other for other in names if frozenset((host, other)) not in cut) for host in names}
    assert all(2 * len(group) > len(names) for group in heard.values())
    assert len(set(heard.values())) == len(names)


def test_bridge_hears_all_and_the_halves_do_not_hear_each_other() -> None:
    fault = fault_of({"fault": "bridge", "target": "w1"}, TOPOLOGY)
    assert isinstance(fault, Bridge)
    here, there = fault.halves(TOPOLOGY)
    assert {*here, "w1", *there} == set(HOSTS)
    assert len(here) + len(there) == len(HOSTS) - 1
    assert abs(len(here) - len(there)) <= 1


def test_partition_loses_the_side_that_visitors_do_not_reach() -> None:
    one_side = made("partition", beside=["db2"])
    assert one_side.lost(TOPOLOGY) == frozenset({Part(Kind.HOST, "db1"), Part(Kind.HOST, "db2")})
    other = made("partition", beside=["db2"], with_visitors=True)
    assert other.lost(TOPOLOGY) == frozenset(Part(Kind.HOST, host) for host in HOSTS if not host.startswith("db"))


@pytest.mark.parametrize("name", sorted(Fault.kinds))
def test_hosts_can_read_the_scripts_with_which_they_heal(name: str) -> None:
    for script in made(name).undo(GROUND).values():
        read = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
        assert (read.returncode, read.stderr) == (0, "")


def test_faults_of_a_process_can_be_healed_by_its_host() -> None:
    of_processes = [name for name, kind in Fault.kinds.items() if kind.breaks is Target.INSTANCE and kind.lasts]
    assert all(made(name).undo(GROUND) for name in of_processes)


# --- a file that is spoilt ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("steps", sorted({"".join(steps) for steps in product("srh", repeat=3)}))
def test_spoilt_file_is_as_before_whatever_was_begun_how_often(tmp_path: Path, steps: str) -> None:
    """s spoils, r restores, h is killed half-way through spoiling."""
    file = tmp_path / "some.conf"
    file.write_bytes(b"good\n")
    file.chmod(0o640)
    spoil, restore = spoilt_file.spoil(str(file), b"bad \x00\n"), spoilt_file.restore(str(file))
    half = "\n".join(spoil.splitlines()[:3])
    sh("".join({"s": spoil, "r": restore, "h": half}[step] for step in steps))
    assert file.read_bytes() == (b"bad \x00\n" if "s" in steps.rpartition("r")[2] else b"good\n")
    sh(restore)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"good\n", 0o640)
    assert list(tmp_path.iterdir()) == [file]


def test_what_depends_on_a_spoilt_file_is_told_when_it_is_restored_and_not_else(tmp_path: Path) -> None:
    file = tmp_path / "some.conf"
    file.touch()
    restore = spoilt_file.restore(str(file), then="echo told")
    assert sh(restore) == ""
    assert sh(spoilt_file.spoil(str(file), b"bad") + restore) == "told\n"
    assert sh(restore) == ""


def sh(script: str) -> str:
    return subprocess.run(["sh", "-eu", "-s"], input=script, text=True, check=True, stdout=subprocess.PIPE).stdout
