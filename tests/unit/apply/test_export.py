"""A state that was exported comes back whole, with the right passphrase only, and over nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nospof.apply import export
from nospof.apply.export import export_state, import_state
from nospof.apply.ssh import Server
from nospof.apply.state import State
from nospof.errors import Failed, WrongInput

WORDS = "correct horse battery"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key as hard to guess as the real one is would take the tests a minute."""
    monkeypatch.setattr(export, "COST", 1 << 4)


@pytest.fixture
def state(tmp_path: Path) -> State:
    (tmp_path / "here").mkdir()
    made = State(tmp_path / "here" / "stack.yaml")
    made.begin("shop")
    made.write("secrets/database-app", "s3cret\n")
    made.write("certificates/ca.key", "a key\n")
    made.write_servers({"web1": Server("web1", "192.0.2.1", "ops", 22)})
    for name in ("lock", "cache/blobs/aa.tar", "drills/runs/1/report.html", "measured.json"):
        made.write(name, "of this machine\n")
    return made


def elsewhere(tmp_path: Path) -> State:
    (tmp_path / "there").mkdir()
    return State(tmp_path / "there" / "stack.yaml")


def test_all_that_another_machine_needs_comes_and_only_that(state: State, tmp_path: Path) -> None:
    there = elsewhere(tmp_path)
    came = import_state(there, export_state(state, WORDS), WORDS)
    assert (there.stack_id, there.stack_name, there.servers()) == (state.stack_id, "shop", state.servers())
    assert (there.folder / "secrets/database-app").read_text() == "s3cret\n"
    assert set(came) == {"id", "name", "secrets/database-app", "certificates/ca.key", "servers.json"}
    assert {path.stat().st_mode & 0o077 for path in [there.folder, *there.folder.rglob("*")]} == {0}
    assert [path.name for path in there.folder.parent.iterdir()] == [".nospof"]


def test_nothing_can_be_read_without_the_passphrase(state: State, tmp_path: Path) -> None:
    content = export_state(state, WORDS)
    assert b"s3cret" not in content
    assert b"database-app" not in content
    with pytest.raises(WrongInput, match="the passphrase is wrong, or the file was changed"):
        import_state(elsewhere(tmp_path), content, WORDS + "!")
    assert export_state(state, WORDS) != content


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_file_that_was_changed_or_cut_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("state")
    made = State(folder / "stack.yaml")
    made.begin("shop")
    content = bytearray(export_state(made, WORDS))
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    with pytest.raises(WrongInput):
        import_state(State(folder / "other" / "stack.yaml"), bytes(content), WORDS)
    assert not (folder / "other").exists()


def test_state_that_is_there_is_not_replaced(state: State) -> None:
    with pytest.raises(Failed, match="is there already"):
        import_state(state, export_state(state, WORDS), WORDS)


def test_stack_that_never_was_has_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="never brought up"):
        export_state(State(tmp_path / "stack.yaml"), WORDS)
