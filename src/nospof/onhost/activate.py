"""Making one instance so: replace what differs, let its units notice, wait until it is healthy — or put all back.

Before the first change the journal on disk says what is begun. When the instance does not become healthy, the last good
files are put back and its units restarted, so that what served before serves again.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from nospof.onhost import draining, files, units
from nospof.onhost.compare import Difference, is_done, of_instance, strongest
from nospof.onhost.manifest import Instance, Manifest, Probe, Step, Unit
from nospof.onhost.receipt import LAST_GOOD, ORIGINAL, Journal, Receipt, write_journal

PROBE_PERIOD_S, PROBE_PERIOD_MOST_S = 0.1, 0.5
PROBE_ASKS_S = 5.0
DONE_WITHIN_S = 5.0
# systemd counts from the last start by hand. Once may be an accident, and a unit that is restarted for ever never "failed".
MOST_RESTARTS = 2


class Unhealthy(Exception):
    """The instance did not become healthy; `detail` holds the log lines that tell why."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(what)
        self.what, self.detail = what, detail


@dataclass(frozen=True)
class Activated:
    """What was done for one instance. `failure` "" when it is healthy; `is_restored`: the last good is back in place."""

    instance: str
    done: tuple[str, ...]
    failure: str = ""
    detail: str = ""
    is_restored: bool = False


@dataclass(frozen=True)
class Care:
    """What those who call the instances are spared.

    `drain`: the folder that makes web servers say they are ill while they change, "" = none. `noticed_s`: seconds until
    callers know that, or the contrary; what changed must be well before and after them.
    """

    drain: str = ""
    noticed_s: float = 0.0


def activate(
    manifest: Manifest,
    names: list[str],
    overrides: Mapping[str, str],
    receipt: Receipt,
    journal: Journal,
    care: Care = Care(),
) -> list[Activated]:
    """Activate the instances `names` in order; stop at the first that fails. `overrides`: path → text to write instead."""
    results: list[Activated] = []
    for name in names:
        instance = _overridden(manifest.instance(name), overrides)
        result, journal = _activate(manifest, instance, receipt, journal, care)
        results.append(result)
        if result.failure:
            break
    return results


def _overridden(instance: Instance, overrides: Mapping[str, str]) -> Instance:
    changed = tuple(replace(file, text=overrides.get(file.path, file.text)) for file in instance.files)
    return replace(instance, files=changed)


def _succeeded(manifest: Manifest, instance: Instance, receipt: Receipt) -> list[str]:
    """Units that run what was in the instance's place before and that nobody wants any more: another component's of its tier.

    They may hold the port that the instance needs.
    """
    had = receipt.instances.get(instance.id, {})
    wanted = {unit.name for one in manifest.instances for unit in one.units}
    names = [name for key in ("units", "other_units", "aside_units") for name in had.get(key, []) if name not in wanted]
    states = units.states(names)
    return [name for name in names if states[name].is_running]


def _activate(
    manifest: Manifest, instance: Instance, receipt: Receipt, journal: Journal, care: Care
) -> tuple[Activated, Journal]:
    succeeded = _succeeded(manifest, instance, receipt)
    states = units.states(unit.name for unit in instance.units)
    todo = of_instance(instance, states, journal)
    if not todo:
        return Activated(instance.id, ()), journal
    before = journal
    journal = _begin(manifest, instance, todo, before)
    is_noticed = bool(care.noticed_s) and any(difference.kind == "unit" for difference in todo)
    serve_again = draining.drain(care.drain, care.noticed_s) if is_noticed and care.drain else lambda: None
    try:
        _replace_files(instance, todo, receipt)
        for name in succeeded:
            units.run(["systemctl", "stop", name], timeout_s=units.START_LIMIT_S)
        _change_units(instance, todo)
        _run_steps(instance)
        restarts = {state.name: state.restarts for state in states.values() if state.active == "active"}
        _wait_healthy(instance, restarts)
        if is_noticed:
            serve_again()
            time.sleep(care.noticed_s)
            _wait_healthy(instance, restarts)
    except (units.UnitFailure, Unhealthy, OSError, KeyError) as error:
        is_restored = _put_back(instance, todo, states, succeeded)
        detail = error.log if isinstance(error, units.UnitFailure) else getattr(error, "detail", "")
        if is_restored:
            journal = replace(journal, dirty=before.dirty)
            with suppress(OSError):  # a full disk: the journal as it is only costs a restart too many
                write_journal(journal)
        return Activated(instance.id, _words(todo), str(error), detail, is_restored), journal
    finally:
        serve_again()
    own = {unit.name for unit in instance.units}
    journal = replace(journal, dirty={unit: action for unit, action in journal.dirty.items() if unit not in own})
    write_journal(journal)
    return Activated(instance.id, _words(todo)), journal


def _begin(manifest: Manifest, instance: Instance, todo: list[Difference], journal: Journal) -> Journal:
    """Note what is about to change, and which units must notice: of other instances too, which have the same file.

    Incident: the CA's certificate is one file for all of a host; whoever came after the first saw no difference any more.
    """
    dirty = dict(journal.dirty)
    changed = {difference.name for difference in todo if difference.kind in ("file", "symlink")}
    for one in manifest.instances:
        noticing = [(file.path, file.notify) for file in one.files] + [(link.path, link.notify) for link in one.symlinks]
        for path, notify in noticing:
            if path in changed:
                strongest(dirty, notify)
    journal = Journal(
        {**journal.files, **{file.path: file.ownership for file in instance.files}},
        tuple(sorted({*journal.symlinks, *(symlink.path for symlink in instance.symlinks)})),
        tuple(sorted({*journal.units, *(unit.name for unit in instance.units)})),
        dirty,
    )
    write_journal(journal)
    return journal


def _replace_files(instance: Instance, todo: list[Difference], receipt: Receipt) -> None:
    changed = {difference.name for difference in todo if difference.kind in ("file", "symlink")}
    for file in instance.files:
        if file.path not in changed:
            continue
        files.keep(file.path, LAST_GOOD)
        if file.path not in receipt.files and file.ownership == "whole":
            files.keep(file.path, ORIGINAL)
        files.write(file)
    for symlink in instance.symlinks:
        if symlink.path in changed:
            files.keep(symlink.path, LAST_GOOD)
            files.link(symlink.path, symlink.target)


def _change_units(instance: Instance, todo: list[Difference]) -> None:
    wanted = {difference.name: difference.change for difference in todo if difference.kind == "unit"}
    states = units.states(unit.name for unit in instance.units)
    # Either has systemd read all units again, which costs as much as a start.
    if new := [unit.name for unit in instance.units if states[unit.name].needs_enabling]:
        units.enable(new)
    elif any(difference.name.startswith("/etc/systemd/system/") for difference in todo):
        units.reload_systemd()
    for unit in _agents_first(instance.units, states):
        change = wanted.get(unit.name, "")
        if change == "ask":
            _ask(unit)
        elif change in ("reload", "restart") and states[unit.name].is_running:
            units.change(change, unit.name)
        elif unit.is_started and not states[unit.name].is_running:
            units.change("start", unit.name)


def _agents_first(wanted: tuple[Unit, ...], states: Mapping[str, units.UnitState]) -> list[Unit]:
    """In order; but where something must be started, which may be the agent that is to be asked, asking comes last."""
    must_start = any(unit.is_started and not states[unit.name].is_running for unit in wanted)
    return sorted(wanted, key=lambda unit: must_start and bool(unit.ask))


def _ask(unit: Unit) -> None:
    """Have the agent that owns the unit restart it. Raises UnitFailure with what the agent says."""
    try:
        done = units.run(list(unit.ask), timeout_s=units.START_LIMIT_S)
    except subprocess.TimeoutExpired:
        what = f"did not take over its new configuration within {units.START_LIMIT_S:.0f} s"
        raise units.UnitFailure(unit.name, what, units.last_log(unit.name)) from None
    if done.returncode != 0:
        raise units.UnitFailure(unit.name, "did not take over its new configuration", done.stderr.strip())


def _run_steps(instance: Instance) -> None:
    for step in instance.steps:
        if not is_done(step.done_when):
            _run_step(instance, step)


def _run_step(instance: Instance, step: Step) -> None:
    try:
        done = subprocess.run(step.argv, capture_output=True, text=True, errors="replace", timeout=step.timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise Unhealthy(f"step {step.name} did not end within {step.timeout_s:.0f} s", _logs(instance)) from None
    if done.returncode != 0:
        raise Unhealthy(f"step {step.name} failed", (done.stdout + done.stderr).strip())
    # What it did may need a moment to be seen: a database that joins is down while its agent copies the data.
    end = time.monotonic() + DONE_WITHIN_S
    while not is_done(step.done_when):
        if time.monotonic() < end:
            time.sleep(PROBE_PERIOD_S)
            continue
        raise Unhealthy(f"step {step.name} ran and is not done", (done.stdout + done.stderr).strip())


def _wait_healthy(instance: Instance, restarts: Mapping[str, int]) -> None:
    """Wait for all probes; `restarts`: of the units that ran before this activation, which are no sign that they die now."""
    for probe in instance.healthy_when:
        _wait_probe(instance, probe, restarts)


def _wait_probe(instance: Instance, probe: Probe, restarts: Mapping[str, int]) -> None:
    end = time.monotonic() + probe.timeout_s
    said = ""
    while True:
        asked_at = time.monotonic()
        try:
            done = subprocess.run(
                probe.argv, capture_output=True, text=True, errors="replace", timeout=PROBE_ASKS_S, check=False
            )
            said = (done.stdout + done.stderr).strip()
            if done.returncode == 0:
                return
        except subprocess.TimeoutExpired:
            said = f"no answer within {PROBE_ASKS_S:.0f} s"
        _refuse_dying(instance, restarts)
        if time.monotonic() > end:
            what = f"{probe.name} did not become healthy within {probe.timeout_s:.0f} s"
            raise Unhealthy(f"{what}: {said.splitlines()[-1]}" if said else what, _logs(instance))
        # A question that is work itself must not take the processor from who is just starting.
        time.sleep(min(max(PROBE_PERIOD_S, time.monotonic() - asked_at), PROBE_PERIOD_MOST_S))


def _refuse_dying(instance: Instance, before: Mapping[str, int]) -> None:
    """Do not wait for what starts again and again: raises Unhealthy."""
    # What an agent owns ends and starts as the agent will, and what only measures the instance is none of its health.
    states = units.states(unit.name for unit in instance.units if not unit.ask and not unit.is_aside).values()
    failed = [f"{state.name} failed" for state in states if state.active == "failed"]
    ends = {state.name: state.restarts - before.get(state.name, 0) for state in states}
    dying = [f"{name} ended {times} times" for name, times in ends.items() if times >= MOST_RESTARTS]
    if failed or dying:
        raise Unhealthy(", ".join(failed or dying), _logs(instance))


def _logs(instance: Instance) -> str:
    logs = [(unit.name, units.last_log(unit.name)) for unit in instance.units]
    return "\n".join(f"{name}: {line}" for name, log in logs for line in log.splitlines() if log)


def _put_back(instance: Instance, todo: list[Difference], before: Mapping[str, units.UnitState], succeeded: list[str]) -> bool:
    """Restore the last good files; units that ran before run again, the others stop. False: that did not work either.

    What an agent owns is restarted by it, and only where it was asked to before. What was not touched and runs is left alone:
    in the queue of a socket wait those whom the last good version is to answer.
    """
    changed = [d.name for d in todo if d.kind in ("file", "symlink")]
    touched = {d.name for d in todo if d.kind == "unit"}
    asked = {d.name for d in todo if d.kind == "unit" and d.change == "ask"}
    seeds = {file.path for file in instance.files if file.ownership == "seed"}
    try:
        for path in changed:
            if path not in seeds:
                files.restore(path, LAST_GOOD)
        for unit in instance.units:
            if not before[unit.name].is_running and unit.is_started:
                units.run(["systemctl", "stop", unit.name], timeout_s=units.START_LIMIT_S)
        units.reload_systemd()
        for name in succeeded:
            units.change("start", name)
        now = units.states(unit.name for unit in instance.units)
        for unit in sorted(instance.units, key=lambda unit: bool(unit.ask)):
            if unit.name in asked:
                _ask(unit)
            elif before[unit.name].is_running and not unit.ask and (unit.name in touched or not now[unit.name].is_running):
                units.run(["systemctl", "reset-failed", unit.name], timeout_s=10)
                units.change("restart", unit.name)
    except (units.UnitFailure, subprocess.TimeoutExpired, OSError):
        return False
    return True


def _words(todo: list[Difference]) -> tuple[str, ...]:
    return tuple(f"{difference.change} {difference.name}" for difference in todo)
