"""A plan that was saved is the only one that is carried out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nospof.apply.plan import Change, Plan, read_plan
from nospof.apply.trips import Problem
from nospof.errors import Failed, WrongInput

CONFIG = Change("lb1", "load-balancer/lb1", "file", "/etc/haproxy/haproxy.cfg", "change", "-a\n+b\n")
RELOAD = Change("lb1", "load-balancer/lb1", "unit", "haproxy.service", "reload")
DARK = Problem("web1", "unreachable", "no route to host", "ssh: connect to host web1")
SHOWN = Plan((CONFIG, RELOAD), (DARK,))


def refusal(now: Plan, shown: Plan = SHOWN) -> list[str]:
    with pytest.raises(Failed) as caught:
        now.require_like(shown)
    return caught.value.detail.splitlines()


def test_saved_plan_is_read_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(SHOWN.as_json())

    assert read_plan(file) == SHOWN
    SHOWN.require_like(read_plan(file))


def test_order_does_not_matter() -> None:
    Plan((RELOAD, CONFIG), (DARK,)).require_like(SHOWN)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (
            Plan((CONFIG, RELOAD, replace(RELOAD, host="lb2", instance="load-balancer/lb2")), (DARK,)),
            ["was not shown   lb2      reload unit haproxy.service  (load-balancer)"],
        ),
        (Plan((CONFIG,), (DARK,)), ["is no more      lb1      reload unit haproxy.service  (load-balancer)"]),
        (
            Plan((replace(CONFIG, diff="-a\n+c\n"), RELOAD), (DARK,)),
            ["differs         lb1      change file /etc/haproxy/haproxy.cfg  (load-balancer)"],
        ),
        (Plan((CONFIG, RELOAD), ()), ["answers again   web1"]),
        (Plan((CONFIG, RELOAD), (DARK, replace(DARK, host="web2"))), ["does not answer web2"]),
        (
            Plan((CONFIG, RELOAD, Change("db2", "", "host", "db2", "remove")), (DARK,)),
            ["was not shown   db2      remove host db2"],
        ),
    ],
)
def test_whatever_differs_is_named_and_nothing_is_done(now: Plan, said: list[str]) -> None:
    assert refusal(now) == said


def test_host_that_was_to_be_made_lacks_everything() -> None:
    shown = Plan((Change("web3", "", "host", "web3", "create"),), ())

    Plan((replace(CONFIG, host="web3"), replace(RELOAD, host="web3")), ()).require_like(shown)
    assert refusal(Plan((RELOAD,), ()), shown) == ["was not shown   lb1      reload unit haproxy.service  (load-balancer)"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"changes": [{"host": 1}], "problems": []}', '{"changes": []}'])
def test_file_that_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)

    with pytest.raises(WrongInput, match="is no plan that"):
        read_plan(file)


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="cannot be read: No such file"):
        read_plan(tmp_path / "plan.json")
