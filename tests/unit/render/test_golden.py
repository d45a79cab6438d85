"""What the hosts of examples, and of a stack in which all load balancers work, get, byte by byte.

A change of any template shows here what it changes.
After a change that is meant: NOSPOF_REWRITE=1, look at the difference, commit it.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
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
    "full": ("lb2", "app1"),
}
BLOBS = defaultdict(lambda: "1" * 64, {"base/onhost": "0" * 64})
KINDS = {name: kind.settings_type for name, kind in Component.kinds.items()}


def manifest(example: str, host: str) -> Manifest:
    own = ROOT / "tests" / "golden" / example / "stack.yaml"
    return manifest_of(own if own.exists() else ROOT / "examples" / example / "stack.yaml", host)


def manifest_of(file: Path, host: str) -> Manifest:
    resolved = resolve(load(file, KINDS), Allotment())
    choices = {name: hosts[0] for name, hosts in resolved.allotment.placed.items()}
    return render(resolved.topology, host, FACTS, choices, BLOBS)


EVERY_PASSWORD = """\
name: shop
domain: shop.example.com
hosts: {h1: {zone: a}, h2: {zone: b}, h3: {zone: c}}
tiers:
  lb:      {component: haproxy, hosts: [h1, h2], mode: active-passive, to: [app, status]}
  app:     {component: gunicorn, hosts: [h1, h2], source: ./app, module: "shop:app", to: [maria, valkey, redis, memory]}
  shop-2:  {component: gunicorn, hosts: [h3], source: ./app, module: "shop:app", to: [my, valkey]}
  maria:   {component: mariadb, hosts: [h1, h2], witness: h3}
  my:      {component: mysql, hosts: [h3], mode: single, port: 3316}
  valkey:  {component: valkey, hosts: [h1, h2]}
  redis:   {component: redis, hosts: [h1, h2], port: 6390, role_port: 8020, metrics_port: 9190}
  memory:  {component: memcached, hosts: [h1, h2]}
  watch:   {component: prometheus, hosts: [h3], alert: {email: ops@shop.example.com, smtp: "mail.example.com:587"}}
  status:  {component: status-page, hosts: [h1, h2]}
"""


def test_every_password_that_is_used_is_one_of_which_its_server_can_take_two(tmp_path: Path) -> None:
    """What no server says to accept is never replaced: that is for keys which sign, and for them alone."""
    (tmp_path / "app").mkdir()
    file = tmp_path / "stack.yaml"
    file.write_text(EVERY_PASSWORD)
    text = "".join(as_text(manifest_of(file, host)) for host in ("h1", "h2", "h3"))
    used = set(re.findall(r"{secret:([^}]*)}", text))
    accepted = {found.partition("|")[0] for found in re.findall(r"{accepted:([^}]*)}", text)}
    assert {"maria/app", "my/shop-2", "valkey/app", "redis/agent", "redis-sentinel/watch", "maria/figures"} <= used & accepted
    assert used - accepted == {"app/secret-key", "shop-2/secret-key"}
    assert accepted - used == {"status/visitors"}


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
