"""Carries out what the `fix:` of a finding says, as a person does who has nothing but these words and the file."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

# What a fix leaves to the reader, since only the reader knows it.
BLANKS = {"URL": "https://outside.example.net/beat"}
FIRST_FREE = 99


class NotToBeDone(Exception):
    """The words name no key of the file and no value for it."""


def carried_out(text: str, fix: str) -> str:
    """Change the stack file `text` as `fix` says; raises NotToBeDone where that cannot be done by its words alone."""
    yaml = YAML()
    told = yaml.load(text)
    words = fix.partition("   (")[0]
    for blank, value in BLANKS.items():
        words = words.replace(blank, value)
    for number in range(words.count("ADDRESS")):
        words = words.replace("ADDRESS", f"192.0.2.{FIRST_FREE + number}", 1)
    for clause in words.split("; "):
        _carry_out(told, clause)
    changed = StringIO()
    yaml.dump(told, changed)
    return changed.getvalue()


def _carry_out(told: dict[str, Any], clause: str) -> None:
    if found := re.fullmatch(r"add ([a-z0-9-]+): (\{.*\}) to hosts", clause):
        assert found[1] not in told["hosts"]
        told["hosts"][found[1]] = YAML().load(found[2])
    elif found := re.fullmatch(r"add ([a-z0-9-]+): (\{.*\}) to tiers", clause):
        assert found[1] not in told["tiers"]
        told["tiers"][found[1]] = YAML().load(found[2])
    elif clause == "add VIP/24 to vip":
        told["vip"].append(f"192.0.2.{2 * FIRST_FREE + len(told['vip'])}/24")
    elif found := re.fullmatch(r"in tier ([a-z0-9-]+) under (\w+) (\w+: .+)", clause):
        told["tiers"][found[1]].setdefault(found[2], {}).update(YAML().load(f"{{{found[3]}}}"))
    elif found := re.fullmatch(r"move ([a-z0-9-]+) to zone (\S+)", clause):
        told["hosts"][found[1]]["zone"] = found[2]
    elif found := re.fullmatch(r"in tier ([a-z0-9-]+) (\w+: .+)", clause):
        told["tiers"][found[1]].update(YAML().load(f"{{{found[2]}}}"))
    elif re.fullmatch(r"(admin|firewall): \S.*", clause):
        told.update(YAML().load(clause))
    else:
        raise NotToBeDone(clause)
