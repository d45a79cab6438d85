"""Each remedy, carried out in the stack file, ends what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from nospof.analysis.losses import single_points
from nospof.analysis.remedies import Remedy, remedy
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


def read(path: Path) -> tuple[Stack, Topology]:
    kinds = {name: kind.settings_type for name, kind in Component.kinds.items()}
    stack = load(path, kinds)
    resolved = resolve(stack, Allotment())
    assert not resolved.problems
    return stack, resolved.topology


def spofs(topology: Topology) -> dict[Part, tuple[Goal, ...]]:
    return single_points(topology, structure(topology))


def carried_out(path: Path, found: Remedy) -> None:
    """Change the file as a person would who reads the remedy."""
    yaml = YAML()
    told = yaml.load(path)
    for host in (*found.hosts, *found.moves):
        told["hosts"][host.name] = {"zone": host.zone}
    for tier in found.tiers:
        told["tiers"][tier.name]["hosts"] = list(tier.hosts)
        if "mode: primary-replica" in found.changes and "mode" in told["tiers"][tier.name]:
            told["tiers"][tier.name]["mode"] = "primary-replica"
    yaml.dump(told, path)


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
        mended = remedy(stack, topology, part, goals)
        assert mended is not None, part
        path.write_text(text)
        carried_out(path, mended)
        assert part not in spofs(read(path)[1]), (part, str(mended))


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
        mended = remedy(stack, topology, part, goals)
        assert mended is not None
        carried_out(path, mended)
    raise AssertionError(f"still there: {left}")


def test_remedy_says_what_to_write(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    (tmp_path / "app").mkdir()
    path.write_text(HEAD + STACKS["simple"].replace("APP", APP))
    stack, topology = read(path)
    found = {part.name: str(remedy(stack, topology, part, goals)) for part, goals in spofs(topology).items()}
    assert found == {
        "lb1": "add lb2: {zone: b} to hosts, in tier load-balancer hosts: [lb1, lb2]",
        "db1": "add db2: {zone: a} to hosts, in tier database hosts: [db1, db2], mode: primary-replica",
    }
