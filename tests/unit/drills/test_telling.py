"""What drills leave on the hosts of those who show them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from sample_proof import drill, good_proof, mixed_proof
from status_pages import with_status

from nospof.drills import telling
from nospof.drills.ground import Ground
from nospof.onhost.status_page import read_drills
from nospof.topology import Topology


@dataclass
class Told:
    """Hosts that run what they are told in a folder of their own."""

    topology: Topology
    folder: Path
    asked: list[str] = field(default_factory=list)

    def run(self, host: str, argv: Sequence[str], stdin: bytes, timeout_s: float) -> None:
        self.asked.append(host)
        here = [word.replace("/var/lib/", f"{self.folder}/{host}/") for word in argv]
        subprocess.run(here, input=stdin, timeout=timeout_s + 20, check=True)

    def drills(self, host: str) -> list[str]:
        (file,) = (self.folder / host).rglob("*.jsonl")
        return [one.name for one in read_drills(file.read_text())]


def tell(told: Told, *lines: telling.Told) -> None:
    telling.tell(cast("Ground", told), lines)


def test_every_page_hears_of_a_drill_and_nobody_else(tmp_path: Path) -> None:
    told = Told(with_status(), tmp_path)
    tell(told, telling.Told(1.0, "good", "host-off db1", "passed"))
    tell(told, telling.Told(2.0, "bad", "host-off web1", "failed"))
    assert told.asked == ["lb1", "lb2", "lb1", "lb2"]
    assert told.drills("lb2") == ["host-off web1", "host-off db1"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["status.jsonl", "status.jsonl"]


def test_only_the_last_are_kept(tmp_path: Path) -> None:
    told = Told(with_status(), tmp_path)
    for number in range(30):
        tell(told, telling.Told(float(number), "good", f"drill {number}", "passed"))
    (file,) = (tmp_path / "lb1").rglob("*.jsonl")
    assert len(file.read_text().splitlines()) == telling.MOST_KEPT
    assert told.drills("lb1")[0] == "drill 29"
    tell(told, *(telling.Told(float(number), "good", f"drill {number}", "passed") for number in range(100, 140)))
    assert told.drills("lb1")[-1] == "drill 120"


def test_drill_is_told_as_it_ended() -> None:
    results = {one.name: telling.of_drill(one) for one in mixed_proof().drills}
    assert {"good", "bad", "open"} <= {one.level for one in results.values()}
    passed = telling.of_drill(drill(1, "host-off db1"))
    assert passed.level == "good"
    assert passed.says.startswith("passed; pages are answered: ")
    assert any(one.level == "bad" and not one.says.startswith("passed") for one in results.values())
    json.dumps([vars(one) for one in results.values()])


def test_proof_is_told_with_its_verdict() -> None:
    assert telling.of_proof(good_proof()).level == "good"
    assert telling.of_proof(mixed_proof()).says.startswith("Not proven")
