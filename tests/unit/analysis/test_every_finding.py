"""Each finding is there in one stack and not in another, and what its `fix:` says, done to the stack file, ends it.

A code without a row here fails. Where nothing in the file ends a finding, the row says why, and its fix says so too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import tests.unit.kinds  # noqa: F401 - components for what the real ones do not do
from stack_edits import NotToBeDone, carried_out

from nospof.analysis.codes import CODES
from nospof.analysis.findings import findings
from nospof.component import Component
from nospof.resolve import Allotment, resolve
from nospof.stack.codes import RESOLVE_CODES
from nospof.stack.load import load
from nospof.stack.model import Stack
from nospof.stack.problems import Problem, Severity

GOOD = """\
name: shop
domain: shop.example.com
hosts:
  lb1: {zone: a}
  lb2: {zone: b}
  web1: {zone: a}
  web2: {zone: b}
  db1: {zone: a}
  db2: {zone: b}
  w1: {zone: c}
tiers:
  load-balancer: {component: haproxy, hosts: [lb1, lb2], to: web}
  web: {component: nginx, hosts: [web1, web2], to: app}
  app: {component: gunicorn, hosts: [web1, web2], source: ./app, module: "shop:app", to: database}
  database: {component: mariadb, hosts: [db1, db2], witness: w1}
  monitoring:
    component: prometheus
    hosts: [lb1, web2]
    alert: {email: a@example.com, smtp: "mail.example.com:587", heartbeat: https://outside.example.net/x}
"""


def good(*changes: tuple[str, str]) -> str:
    """The good stack with parts of its text replaced."""
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


ONE_PAGE = """\
name: page
domain: page.example.com
hosts:
  web1: {zone: a}
tiers:
  web: {component: nginx, hosts: [web1], to: page}
  page: {component: static, hosts: [web1], source: ./app}
"""
TWO_HOSTS = """\
name: two
domain: two.example.com
hosts:
  a1: {zone: a}
  b1: {zone: b}
tiers:
  load-balancer: {component: haproxy, hosts: [a1, b1], to: app}
  app: {component: gunicorn, hosts: [a1, b1], source: ./app, module: "a:b", to: database}
  database: {component: mariadb, hosts: [a1, b1]}
"""
SERVERS = """\
name: servers
domain: servers.example.com
vip: 192.0.2.10/24
hosts:
  lb1: {zone: a, address: 192.0.2.11}
  lb2: {zone: b, address: 192.0.2.12}
  web1: {zone: a, address: 192.0.2.13}
  web2: {zone: b, address: 192.0.2.14}
tiers:
  load-balancer: {component: haproxy, hosts: [lb1, lb2], to: app}
  app: {component: gunicorn, hosts: [web1, web2], source: ./app, module: "a:b"}
"""
SHARED = (
    SERVERS.replace("vip: 192.0.2.10/24", "peak_qps: 150\nvip: [192.0.2.10/24, 192.0.2.20/24]")
    .replace("to: app}", "to: app, mode: active-active, qps_per_instance: 100}")
    .replace('module: "a:b"}', 'module: "a:b", qps_per_instance: 150}')
)
TWO_ZONES = (", witness: w1", ""), ("  w1: {zone: c}\n", "")
LAST = "  database: {component: mariadb, hosts: [db1, db2], witness: w1}\n"
VALKEY = "  sessions: {component: valkey, hosts: [db1, db2]}\n"
WATCH = GOOD[GOOD.index("  monitoring:") :]
NOBODY_WATCHES = GOOD.replace(WATCH, "")
CACHE = "  cache: {component: test-cache, hosts: [db1, db2]}\n"
WITH_UPLOADS = """\
  pages: {component: apache, hosts: [web1, web2], port: 8444, to: php}
  php: {component: php-fpm, hosts: [web1, web2], source: ./app, domain: php.example.com, writes: [uploads]}
"""


CAPABLE = good(
    ("tiers:", "peak_qps: 150\ntiers:"),
    *((old, f"{old}, qps_per_instance: 150") for old in ("to: web", "to: app", "to: database", "witness: w1")),
)
THREE_SERVERS = CAPABLE.replace("  web2: {zone: b}", "  web2: {zone: b}\n  web3: {zone: a}").replace(
    "{component: nginx, hosts: [web1, web2], to: app, qps_per_instance: 150}",
    "{component: nginx, hosts: [web1, web2, web3], to: app, qps_per_instance: 100}",
)
MEASURED = {"F222", "F224"}
"""What no file alone can have: see test_capacity.py."""


@dataclass(frozen=True)
class Row:
    """`present`: stacks that have the finding; `absent`: one that has it not; `stays`: why nothing in the file ends it."""

    present: tuple[str, ...]
    absent: str = GOOD
    stays: str = ""


ROWS: dict[str, Row] = {
    "F101": Row((good(("tiers:", "firewall: off\ntiers:")),)),
    "F102": Row((good(("to: web}", "to: web, https: off}")),)),
    "F103": Row(
        (NOBODY_WATCHES,),
        good((WATCH, "  monitoring: {component: test-watcher, hosts: [db1, db2]}\n")),
    ),
    "F104": Row((GOOD,), "", stays="nospof does not configure IPv6 yet"),
    "F105": Row((SERVERS, SERVERS.replace("hosts:\n", "admin: 0.0.0.0/0\nhosts:\n", 1))),
    "F106": Row(
        (good((LAST, LAST + CACHE), ("to: database", "to: [database, cache]")),),
        stays="a component without TLS cannot be told to have it",
    ),
    "F107": Row((good(("to: web}", "to: web, security_headers: off}")),)),
    "F108": Row((GOOD,), good(("to: web}", "to: web, https: off}")), stays="nospof gets no public certificate yet"),
    "F110": Row((good((WATCH, "  monitoring: {component: prometheus, hosts: [lb1, web2]}\n")),)),
    "F111": Row((good((", heartbeat: https://outside.example.net/x", "")),)),
    "F201": Row((
        good(("hosts: [lb1, lb2]", "hosts: [lb1], spare: [lb2]")),
        good(('to: database}', 'to: database}\n  batch: {component: gunicorn, hosts: [w1], source: ./app, module: "a:b"}')),
        SERVERS.replace("hosts: [lb1, lb2]", "hosts: [lb1], spare: [lb2]"),
    )),
    "F202": Row((good(("lb2: {zone: b}", "lb2: {zone: a}\n  lb3: {zone: b}"), ("[lb1, lb2]", "[lb1, lb2], spare: [lb3]")),)),
    "F203": Row((
        good((", witness: w1", ""), ("web2: {zone: b}", "web2: {zone: c}"), ("  w1: {zone: c}\n", "")),
        good(("w1: {zone: c}", "w1: {zone: b}"), ("lb1: {zone: a}", "lb1: {zone: b}"), ("hosts: [lb1, lb2]", "hosts: [lb1]")),
        good(*TWO_ZONES, ("hosts: [lb1, lb2]", "hosts: [lb1]")),
    )),
    "F204": Row((good(*TWO_ZONES, ("hosts: [lb1, lb2]", "hosts: [lb1]")),)),
    "F206": Row((TWO_HOSTS,)),
    "F207": Row((
        good(("witness: w1", "witness: w1, failover: available")),
        good(("witness: w1", "failover: available")),
        good(("witness: w1", "witness: w1, durability: memory")),
    )),
    "F208": Row((good(('module: "shop:app"', 'module: "shop:app", health: /ready')),)),
    "F210": Row((
        good(("hosts: [lb1, lb2]", "hosts: [lb1]")),
        good(("hosts: [db1, db2], witness: w1", "hosts: [db1], mode: single")),
        good((", witness: w1", ", failover: lossless")),
        SERVERS.replace("hosts: [lb1, lb2]", "hosts: [lb1]"),
        TWO_HOSTS,
    )),
    "F211": Row((good(("lb2: {zone: b}", "lb2: {zone: a}")), good(*TWO_ZONES), good(("zone: b", "zone: a"), *TWO_ZONES))),
    "F212": Row((GOOD,), ONE_PAGE, stays="two losses are always too many for something; the first one is to be mended"),
    "F213": Row((GOOD, SERVERS), "", stays="outside of the hosts: the name, the network, the controlling machine"),
    "F214": Row((GOOD,), ONE_PAGE, stays="it is a figure, not a weakness"),
    "F215": Row((GOOD, good((", witness: w1", ""))), SERVERS, stays="no component of nospof keeps backups yet"),
    "F216": Row(
        (GOOD, good(("witness: w1", "witness: w1, failover: available"))),
        ONE_PAGE,
        stays="which cables and switches there are is not in the file",
    ),
    "F217": Row((GOOD + VALKEY, GOOD + VALKEY.replace("valkey", "redis")), stays="a cache is fast because it does so"),
    "F218": Row(
        (GOOD + WITH_UPLOADS,),
        GOOD + WITH_UPLOADS.replace(", writes: [uploads]", ""),
        stays="there is no component for files that all hosts see",
    ),
    "F220": Row((CAPABLE.replace("to: app, qps_per_instance: 150", "to: app, qps_per_instance: 100"), SHARED), CAPABLE),
    "F221": Row((THREE_SERVERS,), CAPABLE),
    "F223": Row((GOOD,), CAPABLE, stays="what visitors ask for and what hosts carry is known outside of the file"),
    "F225": Row((CAPABLE,), stays="it is a figure, not a weakness"),
    "F226": Row(
        (good(("[lb1, lb2]", "[lb1, lb2], spare: w1"), ("[web1, web2], to: app", "[web1, web2], spare: w1, to: app")),),
        CAPABLE.replace("hosts: [lb1, lb2]", "hosts: [lb1, lb2], spare: w1"),
        stays="how strong a host is, is known outside of the file",
    ),
    "F301": Row(
        (SERVERS + "  database: {component: mysql, hosts: [web1, web2]}\n",),
        SERVERS + "  database: {component: mariadb, hosts: [web1, web2]}\n",
        stays="which sources a server has is the server's; nospof sets up none",
    ),
}  # fmt: skip
CONTRADICTIONS = {
    "S301": SERVERS.replace("vip: 192.0.2.10/24\n", ""),
    "S302": good((LAST, LAST + "  needy: {component: test-needy, hosts: [web1, web2]}\n")),
    "S303": good(("to: web}", "to: [web, database]}")),
    "S304": good((LAST, LAST + "  more: {component: nginx, hosts: [web1, web2], to: app, port: 8444}\n")),
    "S305": good(("nginx, hosts: [web1, web2]", "nginx, port: 8008, hosts: [db1, db2]")),
    "S306": good(
        (LAST, LAST + "  docs: {component: static, hosts: [web1], source: ./app}\n"), ("to: app}", "to: [app, docs]}")
    ),
    "S307": SERVERS.replace("vip: 192.0.2.10/24", "vip: [192.0.2.10/24, 192.0.2.20/24]"),
}
"""Stacks with what only `resolve` can see; for the other S-codes see tests/data/wrong-stacks."""
HAS_ONE = [(code, number) for code, row in ROWS.items() for number in range(len(row.present))]


def found(folder: Path, text: str) -> list[Problem]:
    """Everything that `check` says of the stack file `text`."""
    stack = loaded(folder, text)
    resolved = resolve(stack, Allotment())
    assert resolved.problems == ()
    return [*stack.warnings, *findings(stack, resolved.topology)]


def loaded(folder: Path, text: str) -> Stack:
    (folder / "app").mkdir(exist_ok=True)
    path = folder / "stack.yaml"
    path.write_text(text)
    return load(path, {name: kind.settings_type for name, kind in Component.kinds.items()})


@pytest.mark.parametrize(
    ("vips", "code", "place", "words"),
    [
        ("192.0.2.10/24", "S301", (4, 1), "vip: [192.0.2.10/24, 203.0.113.11/24]"),
        ("[192.0.2.10/24, 192.0.2.20/24, 192.0.2.30/24]", "S307", (4, 37), "remove 192.0.2.30/24"),
    ],
)
def test_addresses_of_load_balancers_that_all_work_are_counted_where_they_stand(
    tmp_path: Path, vips: str, code: str, place: tuple[int, int], words: str
) -> None:
    text = SHARED.replace("[192.0.2.10/24, 192.0.2.20/24]", vips)
    (problem,) = resolve(loaded(tmp_path, text), Allotment()).problems

    assert (problem.code, (problem.line, problem.column)) == (code, place)
    assert "2 VIPs are needed" in problem.what or "2 needed (load-balancer, load-balancer.2)" in problem.what
    assert words in problem.fix


def test_mode_for_several_hosts_with_one_is_an_error_with_its_line(tmp_path: Path) -> None:
    text = SHARED.replace("hosts: [lb1, lb2]", "hosts: [lb1]").replace("[192.0.2.10/24, 192.0.2.20/24]", "192.0.2.10/24")
    (problem,) = (one for one in resolve(loaded(tmp_path, text), Allotment()).problems if one.code == "S012")

    assert (problem.path, problem.line) == ("tiers.load-balancer.hosts", 11)


def test_each_code_has_its_row() -> None:
    assert set(ROWS) | MEASURED == set(CODES)
    assert set(CONTRADICTIONS) == set(RESOLVE_CODES)


def test_good_stack_has_only_what_no_file_can_change(tmp_path: Path) -> None:
    codes = {problem.code for problem in found(tmp_path, GOOD)}
    assert codes == {code for code in codes if ROWS[code].stays}


@pytest.mark.parametrize("code", ROWS)
def test_finding_is_not_there_where_it_should_not_be(tmp_path: Path, code: str) -> None:
    if not ROWS[code].absent:
        assert ROWS[code].stays, "it is said of every stack"
        return
    assert code not in {problem.code for problem in found(tmp_path, ROWS[code].absent)}


@pytest.mark.parametrize(("code", "number"), HAS_ONE)
def test_fix_carried_out_ends_the_finding(tmp_path: Path, code: str, number: int) -> None:
    row = ROWS[code]
    text = row.present[number]
    mine = [problem for problem in found(tmp_path, text) if problem.code == code]
    assert mine
    for problem in mine:
        assert problem.severity is CODES[code].severity
        assert problem.why
        if row.stays:
            with pytest.raises(NotToBeDone):
                carried_out(text, problem.fix)
            continue
        left = found(tmp_path, carried_out(text, problem.fix))
        assert (problem.code, problem.path) not in {(one.code, one.path) for one in left}
        new = {one.code for one in left} - {one.code for one in found(tmp_path, text)}
        assert not new & {"F210", "F211"}, "a weakness is not to be exchanged for a worse one"
        assert "S038" not in new, "a host that is added is used"


@pytest.mark.parametrize("code", [code for code, row in ROWS.items() if not row.stays])
def test_all_fixes_one_after_the_other_leave_notes_only(tmp_path: Path, code: str) -> None:
    text = ROWS[code].present[0]
    for _ in range(12):
        warnings = [problem for problem in found(tmp_path, text) if problem.severity is not Severity.NOTE]
        unsafe = [problem for problem in warnings if problem.code in CODES]
        if not unsafe:
            break
        text = carried_out(text, unsafe[0].fix)
    assert warnings == []


@pytest.mark.parametrize("code", CONTRADICTIONS)
def test_contradiction_is_there_in_its_stack_and_not_in_the_good_one(tmp_path: Path, code: str) -> None:
    def codes(text: str) -> set[str]:
        return {problem.code for problem in resolve(loaded(tmp_path, text), Allotment()).problems}

    assert codes(CONTRADICTIONS[code]) == {code}
    assert codes(GOOD) == set()
