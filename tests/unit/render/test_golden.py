"""What the hosts of examples, and of a stack in which all load balancers work, get, byte by byte.

A change of any template shows here what it changes.
After a change that is meant: NOSPOF_REWRITE=1, look at the difference, commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nospof.component import Component, Facts
from nospof.render.host import Manifest, render
from nospof.resolve import Allotment, resolve
from nospof.stack.load import load

ROOT = Path(__file__).parents[3]
FACTS = Facts("3.13", "13.1", "x86_64", "host0", 16, 20000, 24000, 2)
# Of the others only what the first has not.
EXAMPLES = {
    "distributed": ("lb1", "lb2", "web1", "web2", "db1", "db2", "w1"),
    "lamp": ("web1",),
    "active-active": ("lb1", "lb2"),
    "scaled-up": ("lb1", "web1", "x1"),
}
BLOBS = {"base/onhost": "0" * 64, "app/release": "1" * 64}


def manifest(example: str, host: str) -> Manifest:
    kinds = {name: kind.settings_type for name, kind in Component.kinds.items()}
    own = ROOT / "tests" / "golden" / example / "stack.yaml"
    file = own if own.exists() else ROOT / "examples" / example / "stack.yaml"
    resolved = resolve(load(file, kinds), Allotment())
    choices = {name: hosts[0] for name, hosts in resolved.allotment.placed.items()}
    return render(resolved.topology, host, FACTS, choices, BLOBS)


def as_text(made: Manifest) -> str:
    lines = [f"packages: {' '.join(made.packages)}"]
    for instance, parts in made.parts:
        lines.append(f"\n{'=' * 20} {instance} {'=' * 20}")
        lines += [f"tree {tree.path} {tree.blob}" for tree in parts.trees]
        lines += [f"symlink {symlink.path} -> {symlink.target} {symlink.for_units}" for symlink in parts.symlinks]
        lines += [f"user {user}" for user in parts.users]
        lines += [f"unit {unit.name} {unit.on_change.value}" for unit in parts.units]
        lines += [f"step {step.name}: {step.argv} until {step.done_when}" for step in parts.steps]
        lines += [f"healthy when {probe.name}: {probe.argv} within {probe.timeout_s} s" for probe in parts.healthy_when]
        for file in parts.files:
            lines.append(f"\n--- {file.path} {file.mode:o} {file.user} {file.ownership.value} {file.for_units} {file.check}")
            lines.append(file.text)
        for unit in parts.units:
            lines += [
                f"\n--- {unit.name}: {what}\n{text}" for what, text in (("", unit.text), ("drop-in", unit.drop_in)) if text
            ]
    return "\n".join(lines).replace("\x02", "{").replace("\x03", "}") + "\n"


@pytest.mark.parametrize(("example", "host"), [(example, host) for example, hosts in EXAMPLES.items() for host in hosts])
def test_rendered_host_is_as_it_was(example: str, host: str) -> None:
    path = ROOT / "tests" / "golden" / example / f"{host}.txt"
    text = as_text(manifest(example, host))
    if os.environ.get("NOSPOF_REWRITE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; if that is meant: NOSPOF_REWRITE=1"
