"""What this host lacks of its manifest: looked up, nothing changed.

Both `plan` and the activation ask here, so that what is shown and what is done cannot differ.
"""

from __future__ import annotations

import difflib
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nospof.onhost import files, units
from nospof.onhost.manifest import Instance, Manifest
from nospof.onhost.receipt import Journal, Receipt

CHECK_LIMIT_S = 20.0
# A diff that nobody reads to its end need not travel.
DIFF_LINES = 80


@dataclass(frozen=True)
class Difference:
    """One thing to be done. `instance` "" for what belongs to the host; `diff` only for files everybody may read."""

    instance: str
    kind: str
    name: str
    change: str
    diff: str = ""


def differences(manifest: Manifest, receipt: Receipt, journal: Journal) -> list[Difference]:
    """Everything that is not as `manifest` says, in the order in which it would be done."""
    found = [Difference("", "package", package, "install") for package in missing_packages(manifest.packages)]
    states = units.states(unit.name for instance in manifest.instances for unit in instance.units)
    for instance in manifest.instances:
        found += of_instance(instance, states, journal)
    found += gone(manifest, receipt, journal)
    if not found and (manifest.digest != receipt.digest or journal != Journal()):
        found.append(Difference("", "receipt", "receipt", "write"))
    return found


def of_instance(instance: Instance, states: dict[str, units.UnitState], journal: Journal) -> list[Difference]:
    """What `instance` lacks: content first, then units; steps and health are asked for where nothing else is to be done."""
    found = [Difference(instance.id, "user", user, "create") for user in instance.users if not _has_user(user)]
    found += [Difference(instance.id, "tree", tree.path, "unpack") for tree in instance.trees if not os.path.isdir(tree.path)]
    todo: dict[str, str] = {unit.name: journal.dirty[unit.name] for unit in instance.units if unit.name in journal.dirty}
    for file in instance.files:
        change = files.difference(file)
        if change:
            found.append(Difference(instance.id, "file", file.path, change, _diff(instance, file.path, change)))
            strongest(todo, file.notify)
    for symlink in instance.symlinks:
        if files.link_target(symlink.path) != symlink.target:
            change = "change" if os.path.lexists(symlink.path) else "create"
            found.append(Difference(instance.id, "symlink", symlink.path, change, f"-> {symlink.target}"))
            strongest(todo, symlink.notify)
    found += _of_units(instance, states, todo)
    if not found:
        found += [Difference(instance.id, "step", step.name, "run") for step in instance.steps if not is_done(step.done_when)]
        found += [
            Difference(instance.id, "health", probe.name, "await") for probe in instance.healthy_when if not is_done(probe.argv)
        ]
    return found


def _of_units(instance: Instance, states: dict[str, units.UnitState], todo: dict[str, str]) -> Iterator[Difference]:
    for unit in instance.units:
        state = states[unit.name]
        if state.needs_enabling:
            yield Difference(instance.id, "unit", unit.name, "enable")
        if not state.is_running and unit.is_started and not state.is_skipped:
            yield Difference(instance.id, "unit", unit.name, "start")
        elif unit.name in todo and (state.is_running or unit.is_started):
            yield Difference(instance.id, "unit", unit.name, todo[unit.name])


def gone(manifest: Manifest, receipt: Receipt, journal: Journal) -> list[Difference]:
    """What an earlier run left here and the manifest no longer has."""
    kept_files = {file.path for instance in manifest.instances for file in instance.files}
    kept_links = {symlink.path for instance in manifest.instances for symlink in instance.symlinks}
    kept_units = {unit.name for instance in manifest.instances for unit in instance.units}
    # The last started first, as when a host goes down: an agent before the server it would start again.
    started = tuple(dict.fromkeys((*receipt.units, *sorted(set(journal.units) - set(receipt.units)))))
    found = [Difference("", "unit", unit, "stop") for unit in reversed(started) if unit not in kept_units]
    owned = {**receipt.files, **journal.files}
    found += [
        Difference("", "file", path, "remove")
        for path in sorted(set(owned) - kept_files)
        if owned[path] != "seed" and os.path.lexists(path)
    ]
    links = {*receipt.symlinks, *journal.symlinks}
    found += [Difference("", "symlink", path, "remove") for path in sorted(links - kept_links) if os.path.lexists(path)]
    return found


def strongest(todo: dict[str, str], notify: Mapping[str, str]) -> None:
    """Add `notify` to `todo`; a restart outweighs a question to the agent, and that a reload."""
    order = ("reload", "ask", "restart")
    for unit, action in notify.items():
        todo[unit] = max(action, todo.get(unit, action), key=order.index)


def is_done(argv: tuple[str, ...]) -> bool:
    """Whether the question `argv` is answered with exit code 0; one that cannot be asked is answered with no."""
    try:
        return subprocess.run(argv, capture_output=True, timeout=CHECK_LIMIT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def missing_packages(packages: tuple[str, ...]) -> list[str]:
    """Packages of `packages` that are not installed, in dpkg's own words."""
    shown = units.run(["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages], timeout_s=20)
    installed = {line.split()[0] for line in shown.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in installed]


def _has_user(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _diff(instance: Instance, path: str, change: str) -> str:
    file = next(file for file in instance.files if file.path == path)
    if not file.mode & 0o004 or change != "change":
        return ""
    old, new = (files.current_text(path) or "").splitlines(), files.wanted_text(file).splitlines()
    lines = list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]
    more = [f"… and {len(lines) - DIFF_LINES} lines more"] if len(lines) > DIFF_LINES else []
    return "\n".join(lines[:DIFF_LINES] + more)
