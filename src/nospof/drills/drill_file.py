"""A drill as a file, to be run again as it was: YAML with the faults, their targets and their times.

    name: the primary dies while a web server is down
    faults:
      - {fault: process-stop, target: web/web1}
      - {fault: host-off, target: primary, at_s: 3}
    hold_s: 13

A target may be a role, "primary", "replica" or "holder", or "database/primary" where an instance is meant: who has it when the
drill begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nospof.drills.engine import HOLD_S, Drill, Injection
from nospof.drills.fault import fault_of
from nospof.drills.ground import Ground
from nospof.errors import WrongInput

LONGEST_S = 600.0


class DrillFile(BaseModel):
    """What stands in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=200)
    faults: tuple[dict[str, Any], ...] = Field(min_length=1, max_length=20)
    hold_s: float = Field(HOLD_S, ge=0, le=LONGEST_S)

    def drill(self, ground: Ground) -> Drill:
        """The drill on this stack. Raises WrongInput where it names what the stack does not have."""
        return Drill(self.name, tuple(injection(ground, plain) for plain in self.faults), self.hold_s)


def read(path: Path) -> DrillFile:
    """Read the file at `path`. Raises WrongInput with what is wrong in it, and where."""
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text())
    except OSError as error:
        raise WrongInput(f"{path} cannot be read: {error.strerror}") from None
    except (YAMLError, ValueError) as error:
        raise WrongInput(f"{path} is not YAML", why=str(error).replace("\n", " ")[:300]) from None
    if not isinstance(content, Mapping):
        raise WrongInput(f"{path} is not a drill", fix="it has keys: name, faults, hold_s")
    try:
        return DrillFile.model_validate(dict(content))
    except ValidationError as wrong:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong.errors()[:5])
        raise WrongInput(f"{path} is not a drill", why=said, fix="it has keys: name, faults, hold_s") from None


def write(drill: Drill) -> str:
    """The text of a file that does the same again, on the same hosts."""
    lines = [f"name: {_quoted(drill.name)}", "faults:"]
    for one in drill.injections:
        plain = one.fault.plain() | ({"at_s": round(one.at_s, 3)} if one.at_s else {})
        lines.append("  - {" + ", ".join(f"{key}: {_quoted(value)}" for key, value in plain.items()) + "}")
    return "\n".join([*lines, f"hold_s: {drill.hold_s:g}", ""])


def injection(ground: Ground, plain: Mapping[str, Any]) -> Injection:
    """One fault with its time; a role as target is resolved now."""
    told = dict(plain)
    at_s = told.pop("at_s", 0.0)
    if not isinstance(at_s, int | float) or not 0 <= at_s <= LONGEST_S:
        raise WrongInput(f"at_s is {at_s!r}", fix=f"seconds after the first fault, 0 to {LONGEST_S:g}")
    if isinstance(told.get("target"), str):
        told["target"] = ground.resolve(told["target"])
    return Injection(fault_of(told, ground.topology), float(at_s))


def _quoted(value: object) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_quoted, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
