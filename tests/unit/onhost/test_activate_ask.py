"""A unit that an agent owns: its changes are asked for, and systemd is not told to start, restart or stop it."""

from __future__ import annotations

from pathlib import Path

import pytest
from onhost_machine import Machine, file, instance, unit, wanted

from nospof.onhost import units
from nospof.onhost.activate import Activated, activate
from nospof.onhost.compare import differences
from nospof.onhost.manifest import Manifest
from nospof.onhost.receipt import Journal, Receipt, read_journal, read_receipt
from nospof.onhost.settle import settle

US = Receipt(stack="shop", stack_id="abcd", finished_at="today", finished_by="me@here")
AGENT = """#!/bin/sh
# Answers as the agent does, and notes when it was asked: only while its unit runs.
echo asked >> {log}
grep -q '"agent.service": {{"active": "active"' {systemd} || {{ echo "no agent" >&2; exit 1; }}
[ ! -e {refuses} ] || {{ echo "a transaction runs for 90 s" >&2; exit 1; }}
"""


def database(machine: Machine, text: str = "one", agent: str = "x", **more: object) -> Manifest:
    program = machine.programs / "ask"
    places = {"log": machine.path("asked"), "systemd": machine.programs / "systemd.json", "refuses": machine.path("refuses")}
    machine.root.mkdir(exist_ok=True)
    program.write_text(AGENT.format(**places))
    program.chmod(0o755)
    config = file(machine.path("etc/db.cnf"), text, notify={"db.service": "ask"})
    settings = file(machine.path("etc/agent.json"), agent, notify={"agent.service": "reload"})
    owned = {**unit("db.service", is_started=False), "ask": [str(program)]}
    return wanted(instance("db/h1", files=[config, settings], units=[owned, unit("agent.service")], **more))


def up(manifest: Manifest) -> Activated:
    (result,) = activate(manifest, [one.id for one in manifest.instances], {}, read_receipt(), read_journal())
    if not result.failure:
        settle(manifest, read_receipt(), read_journal(), US)
    return result


def starts(machine: Machine, name: str) -> None:
    """What the agent does with systemd."""
    states = machine.systemd()["units"]
    machine.set_systemd(units={**states, name: {"active": "active", "enabled": "enabled", "condition": "yes"}})


def asked(machine: Machine) -> int:
    log = Path(machine.path("asked"))
    count = len(log.read_text().splitlines()) if log.exists() else 0
    log.unlink(missing_ok=True)
    return count


def serving(machine: Machine) -> None:
    """Given: it is installed, and the agent has started the server."""
    assert not up(database(machine)).failure
    starts(machine, "db.service")
    machine.calls()
    assert asked(machine) == 0


def test_first_time_only_the_agent_is_started(machine: Machine) -> None:
    assert not up(database(machine)).failure
    assert "start agent.service" in machine.calls()
    assert asked(machine) == 0


def test_changed_configuration_is_asked_for_once(machine: Machine) -> None:
    serving(machine)
    changed = database(machine, "two")
    found = differences(changed, read_receipt(), read_journal())
    assert [(Path(one.name).name, one.change) for one in found] == [("db.cnf", "change"), ("db.service", "ask")]
    assert not up(changed).failure
    assert (asked(machine), machine.calls()) == (1, [])
    assert read_journal() == Journal()


def test_server_that_does_not_run_now_reads_the_new_configuration_when_it_is_started(machine: Machine) -> None:
    assert not up(database(machine)).failure
    machine.calls()
    assert not up(database(machine, "two")).failure
    assert (asked(machine), machine.calls()) == (0, [])


def test_agent_that_does_not_run_is_started_before_it_is_asked(machine: Machine) -> None:
    serving(machine)
    states = machine.systemd()["units"]
    machine.set_systemd(units={**states, "agent.service": {**states["agent.service"], "active": "inactive"}})
    assert not up(database(machine, "two")).failure
    assert (asked(machine), machine.calls()) == (1, ["start agent.service"])


def test_refusal_puts_the_old_configuration_back_and_says_why(machine: Machine) -> None:
    serving(machine)
    Path(machine.path("refuses")).touch()
    result = up(database(machine, "two"))
    assert result.failure == "db.service did not take over its new configuration"
    assert result.detail == "a transaction runs for 90 s"
    assert Path(machine.path("etc/db.cnf")).read_text() == "one"
    assert not [call for call in machine.calls() if "db.service" in call]


def test_agent_that_never_answers_is_given_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    serving(machine)
    monkeypatch.setattr(units, "START_LIMIT_S", 0.2)
    manifest = database(machine, "two")
    (machine.programs / "ask").write_text("#!/bin/sh\nexec sleep 5\n")
    assert up(manifest).failure == "db.service did not take over its new configuration within 0 s"


def test_putting_back_leaves_a_server_alone_that_was_not_asked(machine: Machine) -> None:
    serving(machine)
    probe = {"name": "role", "argv": ["/bin/false"], "timeout_s": 0.1}
    result = up(database(machine, agent="y", healthy_when=[probe]))
    assert result.failure
    assert result.is_restored
    assert asked(machine) == 0
    assert not [call for call in machine.calls() if "db.service" in call]


def test_server_that_the_agent_is_just_restarting_is_no_failure(machine: Machine) -> None:
    serving(machine)
    states = machine.systemd()["units"]
    broken = {"active": "failed", "enabled": "enabled", "condition": "yes", "restarts": 5}
    machine.set_systemd(units={**states, "db.service": broken})
    ready = Path(machine.path("ready"))
    argv = ["/bin/sh", "-c", f"[ -e {ready} ] || {{ touch {ready}; exit 1; }}"]
    assert not up(database(machine, agent="y", healthy_when=[{"name": "role", "argv": argv, "timeout_s": 30}])).failure
