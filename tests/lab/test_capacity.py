"""What a running stack carries: `measure` finds it, `check` and `explain` use it, `status` tells the database's queries.

No figure is compared with a fixed one, since other work on the machine decides them: only with each other.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_site import LiveSite, simple_brought_up

from nospof.drills.workloads.http_get import Load, running

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]
# A busy machine answers late: what is sought here is a figure, whatever it is.
PATIENT = ("--seconds", "2", "--p99", "1", "--most", "40")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    with simple_brought_up(tmp_path_factory.mktemp("examples")) as made:
        yield made


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
        assert "not measured: 1 of" in site.nospof("measure", code=1)
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

    with running(load, tmp_path / "history", lambda argv: deployment.lab.network_argv("client", argv)):
        time.sleep(12)  # two readings, five seconds apart, after it began
        busy = qps()
    time.sleep(12)
    # Each page asks the database at least once.
    assert busy > 5
    assert qps() < busy / 2
