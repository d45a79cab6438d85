"""Drills on the example `simple`: what `check` says is what happens, and whatever becomes of nospof, the fault is healed.

Then what the same stack carries: `measure` finds it, `check` and `explain` use it, `status` tells the database's queries. No
figure is compared with a fixed one, since other work on the machine decides them: only with each other.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from examples_read import topology_of
from live_site import LiveSite, kill_when, simple_brought_up

from nospof.analysis.losses import single_points
from nospof.analysis.structure import structure
from nospof.drills import engine, host_lines
from nospof.drills.checkers.leftovers import Leftovers
from nospof.drills.drill_file import DrillFile
from nospof.drills.engine import Stage
from nospof.drills.fault import fault_of
from nospof.drills.ground import Ground
from nospof.drills.guard import guarded
from nospof.drills.proving import Course, plan, proof_folder
from nospof.drills.result import Agreement, Conclusion, DrillResult
from nospof.drills.undo import arm, heal, unhealed
from nospof.drills.visitors import Rates
from nospof.drills.workloads.http_get import Load, running
from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.alone, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]
# The machine does other things as well.
RATES = Rates(reads=20, writes=10)
LOAD = ("--reads=20", "--writes=10")
HEALED_WITHIN_S = 60.0
# A busy machine answers late: what is sought here is a figure, whatever it is.
PATIENT = ("--seconds", "2", "--p99", "1", "--most", "40")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    with simple_brought_up(tmp_path_factory.mktemp("examples")) as made:
        yield made


def drilled(site: LiveSite, *faults: dict[str, object]) -> DrillResult:
    """Drill these faults, and say what came of it."""
    ground = Ground(site.deployment())
    stage = Stage(ground, structure(ground.topology), site.folder / "drills", print, RATES)
    with guarded(ground):
        return engine.run(stage, DrillFile(name="tried", faults=faults).drill(ground))


TOPOLOGY = topology_of("simple")
ALONE = {part.name for part in single_points(TOPOLOGY, structure(TOPOLOGY)) if part.kind == "host"}


@pytest.mark.parametrize("host", ["lb1", pytest.param("web1", marks=pytest.mark.long)])
def test_check_names_exactly_what_takes_the_site_down(site: LiveSite, host: str) -> None:
    assert {"lb1", "db1"} == ALONE
    result = drilled(site, {"fault": "host-off", "target": host})
    assert result.conclusion is Conclusion.PASSED, result
    assert {goal.seen for goal in result.goals} == {"down" if host in ALONE else "up"}
    assert result.acknowledged > 0


def test_dependency_that_the_topology_does_not_have_is_found(site: LiveSite) -> None:
    """A load balancer that knows one of two servers: the file says that each may be lost."""
    config = "/etc/haproxy/haproxy.cfg"
    site.on("lb1", "sh", "-c", f"cp -p {config} /root/kept && sed -i '/^    server web2 /d' {config}")
    try:
        site.on("lb1", "systemctl", "reload", "haproxy.service")
        result = drilled(site, {"fault": "host-off", "target": "web1"})
        assert {goal.agreement for goal in result.goals} == {Agreement.OPTIMISTIC}
    finally:
        site.on("lb1", "cp", "-p", "/root/kept", config)
        site.on("lb1", "systemctl", "reload", "haproxy.service")


def test_what_a_fault_leaves_on_a_host_is_seen(site: LiveSite) -> None:
    """Incident: faults gave their files other names, and the checker went on looking for the old ones."""
    ground = Ground(site.deployment())
    fault = fault_of({"fault": "process-stop", "target": "app/web1"}, ground.topology)
    before = Leftovers().look(ground)
    record = arm(ground, fault, 60.0)
    try:
        fault.inject(ground)
        new, silent = host_lines.compare(before, Leftovers().look(ground))
    finally:
        heal(ground, record)
    assert not silent
    assert any(line.startswith("web1: drop-in: ") for line in new)
    assert any(line.startswith("web1: timer: ") for line in new)
    site.settled_status()
    assert host_lines.compare(before, Leftovers().look(ground)) == ([], "")
    assert site.on("web1", "find", "/run", "-maxdepth", "1", "-name", "nospof-heal-*") == ""


def test_proof_foretells_before_it_begins_and_goes_on_where_it_was(site: LiveSite) -> None:
    """With no time left nothing is drilled and nothing is settled; what is done already is not done again."""
    ground = Ground(site.deployment())
    state = ground.deployment.state
    chosen = plan(ground.topology, order=1)
    told: list[str] = []

    def course() -> Course:
        kept = proof_folder(state, chosen, fresh=False)
        return Course(ground, chosen, kept, told.append, told.append, lambda result, _: told.append(result.name), RATES)

    first = course()
    proof = first.run(budget_s=0.0)
    assert (first.folder / "foretold.json").exists()
    assert (proof.drills, len(proof.unproven), told) == ((), len(chosen.extent), [])
    for number, planned in enumerate(chosen.drills, 1):
        done = DrillResult(number=number, name=planned.drill.name, faults=(), begun_at=time.time())
        (first.folder / f"{number:03}.json").write_text(done.model_dump_json())
    proof = course().run()
    assert (len(proof.drills), told) == (len(chosen.drills), [])
    assert proof.foretold_at <= min(drill.begun_at for drill in proof.drills)
    assert proof.packages["haproxy"]
    assert proof_folder(state, chosen, fresh=True) != first.folder


def is_healed(site: LiveSite) -> bool:
    return not unhealed(site.deployment().state)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("processes run", ("process-stop", "web/web1")),
        pytest.param("healing", ("host-off", "web2"), marks=pytest.mark.long),
    ],
)
def test_killed_in_the_midst_of_a_drill_everything_heals(site: LiveSite, words: str, fault: tuple[str, str]) -> None:
    process = site.start("drill", str(site.file), *fault, *LOAD, "--hold=1")
    kill_when(process, words, signals=[signal.SIGKILL], whole_group=True)
    assert wait_until(lambda: is_healed(site), HEALED_WITHIN_S, step_s=0.2), unhealed(site.deployment().state)
    site.settled_status()
    assert site.ask()[0] == 200


def test_interrupted_drill_heals_before_it_ends(site: LiveSite) -> None:
    process = site.start("drill", str(site.file), "process-stop", "app/web2", *LOAD)
    said = kill_when(process, "processes run", signals=[signal.SIGINT], whole_group=True)
    assert process.returncode == 3, said
    assert is_healed(site)
    site.settled_status()


def test_with_its_guard_killed_too_the_next_run_heals(site: LiveSite) -> None:
    process = site.start("drill", str(site.file), "host-off", "web1", *LOAD)
    assert process.stdout is not None
    assert any("web1 is off" in line for line in process.stdout)
    for pid in (guard_of(site), process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert [record.fault["target"] for record in unhealed(site.deployment().state)] == ["web1"]
    assert "healed 1" in site.nospof("drill", "--heal")
    assert is_healed(site)
    site.settled_status()


def guard_of(site: LiveSite) -> int:
    """The process that watches over the drills of `site`."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if b"nospof.drills.guard" in words and str(site.file).encode() in words:
                return int(entry.parent.name)
    raise AssertionError("no guard runs")


def test_stack_that_is_not_well_is_not_drilled(site: LiveSite) -> None:
    site.on("web2", "systemctl", "stop", "nginx.service")
    begun = time.monotonic()
    try:
        shorter = {"nospof.drills.engine.WELL_BEFORE_S": 6.0}
        said = site.nospof("drill", "process-kill", "web/web1", *LOAD, code=3, shorter=shorter)
    finally:
        site.on("web2", "systemctl", "start", "nginx.service")
    assert "the stack is not well" in said
    assert "web/web2" in said
    assert time.monotonic() - begun < 120


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("host-of", "web1"), "there is no fault host-of\n  fix: one of: "),
        (("host-off", "web3"), "there is no host web3\n  fix: one of: db1, lb1, web1, web2"),
        (("process-kill", "web1"), "there is no instance web1\n  fix: one of: app/web1, "),
        (("host-off", "web1", "--set", "force=1"), "fault host-off: force: Extra inputs are not permitted"),
        (("host-off", "replica"), "there is no one replica of"),
    ],
)
def test_wrong_words_touch_nothing_and_say_what_is_right(site: LiveSite, words: tuple[str, ...], said: str) -> None:
    process = site.start("drill", str(site.file), *words)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (2, 3)
    assert said in out + err


# --- what it carries -------------------------------------------------------------------------------------------------
def codes(site: LiveSite) -> set[str]:
    process = site.start("check", "--json", str(site.file))
    out, _ = process.communicate(timeout=60)
    return {problem["code"] for problem in json.loads(out)}


def test_measured_figures_are_plausible_and_check_uses_them(site: LiveSite) -> None:
    site.settled_status()
    assert "F223" in codes(site)

    measured = json.loads(site.nospof("measure", "--json", *PATIENT))

    instances = measured["instances"]
    assert set(instances) == {"load-balancer", "web", "app", "database"}
    assert set(instances["web"]) == set(instances["app"]) == {"web1", "web2"}
    assert 0 < measured["whole"]["qps"] <= 40
    assert all(0 < figure["qps"] <= 40 for hosts in instances.values() for figure in hosts.values())
    assert instances["web"] == instances["app"]  # behind its socket, the application is measured with its web server
    assert instances["database"] == {"db1": {"qps": measured["whole"]["qps"], "is_at_least": True}}
    assert abs(measured["at"] - time.time()) < 600
    assert (measured["machine"]["is_shared"], measured["machine"]["cores"]) == (True, len(os.sched_getaffinity(0)))

    site.edit("domain: ", "peak_qps: 1\ndomain: ")
    # Without lb1 or db1 nothing is left of a tier; two web servers carry one request a second, each without the other.
    text = site.nospof("check", code=1)
    assert text.count("warning[F220]") == 2
    assert "without host lb1 tier load-balancer carries 0" in text
    assert "without host web1" not in text
    assert "in a lab whose hosts and load share" in site.nospof("explain")


def test_interrupted_measurement_ends_its_load_and_leaves_the_old_figures(site: LiveSite) -> None:
    before = site.deployment().state.measured()
    process = site.start("measure", "--seconds", "60", str(site.file))
    time.sleep(4)  # the first load is under way

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert process.returncode == 3
    assert "interrupted: nothing was written down" in err
    assert site.deployment().state.measured() == before
    site.settled_status()


def test_stack_that_is_not_whole_is_not_measured(site: LiveSite) -> None:
    site.on("web2", "systemctl", "stop", "nginx")
    try:
        shorter = {"nospof.measuring.measure.WELL_WITHIN_S": 3.0}
        assert "not measured: 1 of" in site.nospof("measure", code=1, shorter=shorter)
    finally:
        site.on("web2", "systemctl", "start", "nginx")
    site.settled_status()


def test_status_tells_how_much_the_database_is_asked_under_load(site: LiveSite, tmp_path: Path) -> None:
    deployment = site.deployment()
    load = Load(deployment.entrance_addresses, "simple.example.com", deployment.ca_file, rate=10.0)

    def qps() -> float:
        (database,) = site.settled_status()["tiers"]["database"]
        assert database["qps"] is not None
        return float(database["qps"])

    # Each page asks the database at least once. A reading is of the last five seconds.
    with running(load, tmp_path / "history", lambda argv: deployment.lab.network_argv("client", argv)):
        assert wait_until(lambda: qps() > 5, 25, step_s=1.0)
        busy = qps()
    assert wait_until(lambda: qps() < busy / 2, 25, step_s=1.0)
