"""A host made of a folder: our programs run for real, systemctl and journalctl are stand-ins on PATH."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nospof.onhost import manifest, receipt, settle

SYSTEMCTL = """#!/usr/bin/python3
import json, pathlib, sys
place = pathlib.Path(__file__).parent / "systemd.json"
state = json.loads(place.read_text())
words = [word for word in sys.argv[1:] if not word.startswith("--")]
verb, names = words[0], words[1:]
state["calls"].append(" ".join(words) if verb != "show" else "")
state["calls"] = [call for call in state["calls"] if call]
code = 0
# What a unit's file says is remembered while the unit is loaded, until all are read again.
if verb in ("daemon-reload", "enable", "disable"):
    for unit in state["units"].values():
        unit.pop("remembered", None)
for name in names:
    unit = state["units"].setdefault(name, {"active": "inactive", "enabled": "disabled", "condition": "yes"})
    if verb == "show":
        enabled = unit.setdefault("remembered", unit["enabled"]) if unit["active"] == "active" else unit["enabled"]
        print(f"Id={name}\\nLoadState=loaded\\nActiveState={unit['active']}\\nUnitFileState={enabled}")
        print(f"ConditionResult={unit['condition']}\\nConditionTimestampMonotonic=1\\nMainPID=7")
        print(f"NRestarts={unit.get('restarts', 0)}\\n")
    elif verb in ("start", "restart", "reload"):
        broken = state["broken"].get(name)
        if broken and pathlib.Path(broken).exists():
            unit["active"], code = "failed", 1
        else:
            unit["active"] = "active"
    elif verb in ("stop", "disable"):
        unit["active"] = "inactive"
        unit["enabled"] = "disabled" if verb == "disable" else unit["enabled"]
    elif verb == "enable":
        unit["enabled"] = "enabled"
place.write_text(json.dumps(state))
sys.exit(code)
"""
SYSTEMD_RUN = """#!/usr/bin/python3
import json, pathlib, sys
place = pathlib.Path(__file__).parent / "systemd.json"
state = json.loads(place.read_text())
told = dict(word.split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
state["calls"].append(f"run {told['--unit']} {told['--property']}")
place.write_text(json.dumps(state))
"""
JOURNALCTL = """#!/bin/sh
echo "it says why"
"""
DPKG = """#!/bin/sh
echo "curl installed"
"""


@dataclass
class Machine:
    """The folder that stands for a host, and what its systemd was told."""

    root: Path
    programs: Path

    def path(self, name: str) -> str:
        return str(self.root / name)

    def systemd(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.programs / "systemd.json").read_text())
        return content

    def set_systemd(self, **changes: Any) -> None:
        (self.programs / "systemd.json").write_text(json.dumps({**self.systemd(), **changes}))

    def calls(self) -> list[str]:
        calls = self.systemd()["calls"]
        self.set_systemd(calls=[])
        return [call for call in calls if call != "daemon-reload"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    programs = tmp_path / "bin"
    programs.mkdir()
    stand_ins = {"systemctl": SYSTEMCTL, "systemd-run": SYSTEMD_RUN, "journalctl": JOURNALCTL, "dpkg-query": DPKG}
    for name, text in stand_ins.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "systemd.json").write_text(json.dumps({"units": {}, "calls": [], "broken": {}}))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    state = tmp_path / "state"
    monkeypatch.setattr(receipt, "STATE", state)
    for module in (receipt, settle):
        for name in ("LAST_GOOD", "ORIGINAL"):
            monkeypatch.setattr(module, name, state / name.lower(), raising=True)
    from nospof.onhost import activate

    monkeypatch.setattr(activate, "LAST_GOOD", state / "last_good")
    monkeypatch.setattr(activate, "ORIGINAL", state / "original")
    return Machine(tmp_path / "root", programs)


def user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def file(path: str, text: str, **changes: Any) -> dict[str, Any]:
    plain = {"mode": 0o644, "user": user(), "ownership": "whole", "check": [], "notify": {}}
    return {"path": path, "text": text, **plain, **changes}


def instance(name: str, **changes: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "files": [],
        "symlinks": [],
        "trees": [],
        "units": [],
        "steps": [],
        "healthy_when": [],
        "users": [],
    }
    return {"id": name, **empty, **changes}


def unit(name: str, *, is_started: bool = True, is_aside: bool = False) -> dict[str, Any]:
    return {"name": name, "is_started": is_started, "is_aside": is_aside, "ask": []}


def wanted(*instances: dict[str, Any], packages: tuple[str, ...] = ("curl",)) -> manifest.Manifest:
    return manifest.parse({"packages": list(packages), "instances": list(instances)})
