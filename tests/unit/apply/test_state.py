from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from nospof.analysis.measured import Figure, Machine, Measured
from nospof.analysis.takeovers import Takeovers, Tried
from nospof.apply.state import State
from nospof.errors import Failed, WrongInput
from nospof.resolve import Allotment


def test_nothing_is_made_before_the_first_up(tmp_path: Path) -> None:
    state = State(tmp_path / "stack.yaml")
    assert (state.exists, state.stack_id, state.lab_name, state.allotment()) == (False, "", "", Allotment())
    assert not (tmp_path / ".nospof").exists()


def test_ids_are_made_once(tmp_path: Path) -> None:
    state = State(tmp_path / "stack.yaml")
    state.begin("shop")
    first = (state.stack_id, state.lab_name)
    state.begin("shop")
    assert (state.stack_id, state.lab_name) == first
    assert first[1] == f"shop-{first[0][:4]}"


def test_allotment_comes_back_as_it_was_written(tmp_path: Path) -> None:
    state = State(tmp_path / "stack.yaml")
    state.begin("shop")
    allotment = Allotment({"host/db1": 3}, {"database/first-primary": ("db1",)})
    state.write_allotment(allotment)
    assert state.allotment() == allotment


@pytest.mark.parametrize("text", ["", "{", "[]", '{"numbers": {"a": "x"}, "placed": {}}', '{"numbers": 1, "placed": {}}'])
def test_damaged_allotment_is_said_and_never_replaced_by_a_new_one(tmp_path: Path, text: str) -> None:
    state = State(tmp_path / "stack.yaml")
    state.begin("shop")
    state.write("allotment.json", text)
    with pytest.raises(WrongInput, match=r"allotment\.json cannot be read"):
        state.allotment()


def hold(folder: str, is_held: Event) -> None:
    with State(Path(folder) / "stack.yaml").locked("up"):
        is_held.set()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path: Path) -> multiprocessing.Process:
    context = multiprocessing.get_context("fork")
    is_held = context.Event()
    process = context.Process(target=hold, args=(str(tmp_path), is_held))
    process.start()
    assert is_held.wait(10)
    return process  # type: ignore[return-value]


def test_second_run_is_told_who_holds_the_stack_since_when(tmp_path: Path, holder: multiprocessing.Process) -> None:
    with pytest.raises(Failed) as refused, State(tmp_path / "stack.yaml").locked("down"):
        pass
    assert f"process {holder.pid}" in refused.value.what
    assert "nospof up by" in refused.value.what
    assert time.strftime("since %Y-%m-%d") in refused.value.what
    holder.kill()
    holder.join()


def test_lock_of_a_killed_run_is_free(tmp_path: Path, holder: multiprocessing.Process) -> None:
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with State(tmp_path / "stack.yaml").locked("down"):
        pass


def test_measured_figures_come_back_as_they_were_written(tmp_path: Path) -> None:
    state = State(tmp_path / "stack.yaml")
    state.begin("shop")
    figures = {"web": {"web1": Figure(120.0), "web2": Figure(110.0, is_at_least=True)}}
    machine = Machine("m1", 2, "a processor", 2048, is_shared=True, busy_share=0.1)
    measured = Measured(1.8e9, machine, "f00d", "GET https://shop.example.com/", 0.2, Figure(200.0), figures)
    assert state.measured() is None
    state.write_measured(measured)
    assert state.measured() == measured


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 1}', '{"at": "now", "machine": {}, "whole": {}}'])
def test_measured_file_that_is_damaged_is_told_and_not_taken_for_none(tmp_path: Path, text: str) -> None:
    state = State(tmp_path / "stack.yaml")
    state.begin("shop")
    state.write("measured.json", text)
    with pytest.raises(WrongInput, match="cannot be read") as raised:
        state.measured()
    assert "nospof measure" in raised.value.fix


def test_takeovers_come_back_as_they_were_written(tmp_path: Path) -> None:
    state = State(tmp_path / "stack.yaml")
    state.begin("shop")
    drills = (
        Tried(("host a", "zone b"), is_up=True, outage_s={"serve": 0.25}, at=1.8e9, run="1"),
        Tried(("host a",), is_up=False),
    )
    assert state.takeovers() is None
    state.write_takeovers(Takeovers("f00d", drills))
    assert state.takeovers() == Takeovers("f00d", drills)


BROKEN_DRILL = '{"at": 1, "topology": "f00d", "drills": [{"parts": [], "is_up": "no", "outage_s": {}}]}'


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 1}', BROKEN_DRILL])
def test_takeovers_that_are_damaged_are_told_and_not_taken_for_none(tmp_path: Path, text: str) -> None:
    state = State(tmp_path / "stack.yaml")
    state.begin("shop")
    state.write("takeovers.json", text)
    with pytest.raises(WrongInput, match="cannot be read") as raised:
        state.takeovers()
    assert "nospof prove" in raised.value.fix
