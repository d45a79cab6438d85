"""A manifest as the JSON that travels: what `nospof.onhost.manifest` reads on the other side.

Units become files plus a state; each file says which units must notice its change, and how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nospof.component import ALL_UNITS, OnChange, Parts, Unit
from nospof.render.host import Manifest
from nospof.topology import InstanceId

Json = dict[str, Any]
SYSTEMD = "/etc/systemd/system"


def to_wire(manifest: Manifest, fill: Callable[[str], str]) -> Json:
    """The manifest as JSON; `fill` replaces the tokens in a text by what they stand for."""
    return {
        "packages": list(manifest.packages),
        "instances": [_instance(instance, parts, fill) for instance, parts in manifest.parts],
    }


def _instance(instance: InstanceId, parts: Parts, fill: Callable[[str], str]) -> Json:
    reactions = {unit.name: unit.on_change.value for unit in parts.units}
    files = [file for unit in parts.units for file in _unit_files(unit)]
    files += [
        {
            "path": file.path,
            "text": fill(file.text),
            "mode": file.mode,
            "user": file.user,
            "ownership": file.ownership.value,
            "check": list(file.check),
            "notify": _notify(file.for_units, reactions),
        }
        for file in parts.files
    ]
    symlinks = [
        {"path": symlink.path, "target": symlink.target, "notify": _notify(symlink.for_units, reactions)}
        for symlink in parts.symlinks
    ]
    return {
        "id": str(instance),
        "files": files,
        "symlinks": symlinks,
        "trees": [{"path": tree.path, "blob": tree.blob} for tree in parts.trees],
        "units": [
            {"name": unit.name, "is_started": unit.is_started, "is_aside": unit.is_aside, "ask": list(unit.ask)}
            for unit in parts.units
        ],
        "steps": [
            {"name": step.name, "argv": list(step.argv), "done_when": list(step.done_when), "timeout_s": step.timeout_s}
            for step in parts.steps
        ],
        "healthy_when": [
            {"name": probe.name, "argv": list(probe.argv), "timeout_s": probe.timeout_s} for probe in parts.healthy_when
        ],
        "users": list(parts.users),
    }


def _notify(for_units: tuple[str, ...], reactions: Mapping[str, str]) -> dict[str, str]:
    return dict(reactions) if for_units == ALL_UNITS else {unit: reactions[unit] for unit in for_units}


def _unit_files(unit: Unit) -> list[Json]:
    reaction = OnChange.ASK if unit.on_change is OnChange.ASK else OnChange.RESTART
    texts = [(f"{SYSTEMD}/{unit.name}", unit.text), (f"{SYSTEMD}/{unit.name}.d/50-nospof.conf", unit.drop_in)]
    return [
        {
            "path": path,
            "text": text,
            "mode": 0o644,
            "user": "root",
            "ownership": "whole",
            "check": [],
            "notify": {unit.name: reaction.value},
        }
        for path, text in texts
        if text is not None
    ]
