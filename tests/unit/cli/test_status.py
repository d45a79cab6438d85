"""What `nospof status` says beside the state of the stack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.components import web_stacks

from nospof.apply.state import State
from nospof.cli.status import as_document, exit_code, held, unhealed_lines
from nospof.deployment import Deployment, Status


def test_fault_of_a_drill_that_is_not_healed_is_told(tmp_path: Path) -> None:
    state = State(tmp_path / "stack.yaml")
    assert unhealed_lines(state) == []
    record = {"id": "ab", "fault": {"fault": "host-off", "target": "db1"}, "armed_at": 0.0, "within_s": 60.0}
    state.write("drills/unhealed/ab.json", json.dumps(record))
    first, fix = unhealed_lines(state)
    assert first.startswith("broken by a drill, and not healed yet: host-off db1, since ")
    assert "nospof drill --heal" in fix


@pytest.mark.parametrize(
    ("holders", "code", "second"),
    [
        ({"load-balancer": ("lb1",), "load-balancer.2": ("lb2",)}, 0, "held by lb2"),
        ({"load-balancer": ("lb1",), "load-balancer.2": ("lb1",)}, 0, "held by lb1, away from its home lb2"),
        ({"load-balancer": ("lb1",), "load-balancer.2": ()}, 1, "held by nobody"),
        ({"load-balancer": ("lb1",), "load-balancer.2": ("lb1", "lb2")}, 1, "held by lb1 AND lb2: it must be one alone"),
    ],
)
def test_each_of_several_vips_is_told_with_its_holder_and_home(
    tmp_path: Path, holders: dict[str, tuple[str, ...]], code: int, second: str
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "stack.yaml").write_text(web_stacks.BOTH)
    site, status = Deployment.load(tmp_path / "stack.yaml"), Status((), holders, ())

    assert [str(held(vip, status)).split("  ")[1] for vip in site.topology.vips_of("load-balancer")][1] == second
    assert exit_code(status) == code
    told = as_document(site, status)["vips"]
    assert [(vip["name"], vip["tier"], vip["home"], tuple(vip["holders"])) for vip in told] == [
        (name, "load-balancer", home, holders[name]) for name, home in (("load-balancer", "lb1"), ("load-balancer.2", "lb2"))
    ]
