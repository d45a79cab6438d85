"""Each remedy, carried out in the stack file, ends what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
from stack_edits import carried_out

from nospof.analysis.losses import single_points
from nospof.analysis.remedies import remedy
from nospof.analysis.structure import Goal, Part, structure
from nospof.component import Component
from nospof.resolve import Allotment, resolve
from nospof.stack.load import load
from nospof.stack.model import Stack
from nospof.topology import Topology

HEAD = "name: shop\ndomain: shop.example.com\n"
APP = 'app: {component: gunicorn, hosts: [web1, web2], source: ./app, module: "a:b", to: database}'
STACKS = {
    "simple": """\
hosts: {lb1: {zone: a}, web1: {zone: a}, web2: {zone: b}, db1: {zone: b}}
tiers:
  load-balancer: {component: haproxy, hosts: [lb1], to: web}
  web: {component: nginx, hosts: [web1, web2], to: app}
  APP
  database: {component: mariadb, hosts: [db1], mode: single}
""",
    "all on one host": """\
hosts: {web1: {zone: a}, web2: {zone: b}}
tiers:
  load-balancer: {component: haproxy, hosts: [web1], to: web}
  web: {component: nginx, hosts: [web1], to: app, port: 8080}
  app: {component: gunicorn, hosts: [web1], source: ./app, module: "a:b", to: database}
  database: {component: mariadb, hosts: [web1], mode: single}
""",
    "load balancers in one zone": """\
hosts: {lb1: {zone: a}, lb2: {zone: a}, web1: {zone: a}, web2: {zone: b}, db1: {zone: a}, db2: {zone: b}, w1: {zone: c}}
tiers:
  load-balancer: {component: haproxy, hosts: [lb1, lb2], to: web}
  web: {component: nginx, hosts: [web1, web2], to: app}
  APP
  database: {component: mariadb, hosts: [db1, db2], witness: w1}
""",
    "two zones": """\
hosts: {lb1: {zone: a}, lb2: {zone: b}, web1: {zone: a}, web2: {zone: b}, db1: {zone: a}, db2: {zone: b}}
tiers:
  load-balancer: {component: haproxy, hosts: [lb1, lb2], to: web}
  web: {component: nginx, hosts: [web1, web2], to: app}
  APP
  database: {component: mariadb, hosts: [db1, db2]}
""",
    "all in one zone": """\
hosts: {lb1: {zone: a}, lb2: {zone: a}, web1: {zone: a}, web2: {zone: a}, db1: {zone: a}, db2: {zone: a}}
tiers:
  load-balancer: {component: haproxy, hosts: [lb1, lb2], to: web}
  web: {component: nginx, hosts: [web1, web2], to: app}
  APP
  database: {component: mariadb, hosts: [db1, db2]}
""",
}

THREE_ZONES = STACKS["load balancers in one zone"].replace("lb2: {zone: a}", "lb2: {zone: b}")


def read(path: Path) -> tuple[Stack, Topology]:
    kinds = {name: kind.settings_type for name, kind in Component.kinds.items()}
    stack = load(path, kinds)
    resolved = resolve(stack, Allotment())
    assert not resolved.problems
    return stack, resolved.topology


def spofs(topology: Topology) -> dict[Part, tuple[Goal, ...]]:
    return single_points(topology, structure(topology))


@pytest.mark.parametrize("name", STACKS)
def test_remedy_carried_out_ends_the_single_point_of_failure(tmp_path: Path, name: str) -> None:
    path = tmp_path / "stack.yaml"
    (tmp_path / "app").mkdir()
    text = HEAD + STACKS[name].replace("APP", APP)
    path.write_text(text)
    stack, topology = read(path)
    found = spofs(topology)
    assert found, "there is nothing to mend"
    for part, goals in found.items():
        mended = remedy(stack, topology, Allotment(), part, goals)
        assert mended is not None, part
        path.write_text(carried_out(text, str(mended.change)))
        assert part not in spofs(read(path)[1]), (part, str(mended.change))


def test_all_remedies_one_after_the_other_leave_none(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    (tmp_path / "app").mkdir()
    path.write_text(HEAD + STACKS["simple"].replace("APP", APP))
    for _ in range(10):
        stack, topology = read(path)
        left = spofs(topology)
        if not left:
            return
        part, goals = next(iter(left.items()))
        mended = remedy(stack, topology, Allotment(), part, goals)
        assert mended is not None
        path.write_text(carried_out(path.read_text(), str(mended.change)))
    raise AssertionError(f"still there: {left}")


def test_remedy_says_what_to_write(tmp_path: Path) -> None:
    assert said(tmp_path, STACKS["simple"]) == {
        "lb1": "add lb2: {zone: b} to hosts; in tier load-balancer hosts: [lb1, lb2]",
        "db1": "add db2: {zone: a} to hosts; in tier database hosts: [db1, db2], mode: primary-replica",
    }


def test_host_that_no_tier_uses_is_taken_before_one_is_added(tmp_path: Path) -> None:
    idle = STACKS["simple"].replace("hosts: {", "hosts: {old1: {zone: a}, old2: {zone: b}, ", 1)
    assert said(tmp_path, idle)["lb1"] == "in tier load-balancer hosts: [lb1, old2]"


def test_voters_that_stay_where_they_were_placed_are_moved(tmp_path: Path) -> None:
    """Incident: a host in a third zone was proposed again and again, which voters that are placed already never go to."""
    placed = Allotment(placed={"consensus": ("db1", "db2", "lb1")})
    assert said(tmp_path, THREE_ZONES, placed) == {"a": "move lb1 to zone c"}
    assert said(tmp_path, THREE_ZONES) == {}


def said(folder: Path, stack: str, allotment: Allotment | None = None) -> dict[str, str]:
    """The remedies in words, by the part that each is for."""
    path, kept = folder / "stack.yaml", allotment or Allotment()
    (folder / "app").mkdir(exist_ok=True)
    path.write_text(HEAD + stack.replace("APP", APP))
    made = read(path)[0]
    topology = resolve(made, kept).topology
    found = {part.name: remedy(made, topology, kept, part, goals) for part, goals in spofs(topology).items()}
    return {name: str(one.change) for name, one in found.items() if one}
