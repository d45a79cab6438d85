"""Other passwords: at every moment, also of an interruption, servers take what any host may use."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from nospof.apply import password_change
from nospof.apply.password_change import PasswordChange, PasswordStep, under_way
from nospof.apply.seal import NOT_YET, Vault
from nospof.apply.state import State
from nospof.component import token
from nospof.errors import WrongInput
from nospof.topology import Topology

TOPOLOGY = Topology("shop", "shop.example.com", (), (), (), ())
NAMES = ("database/app", "database/replication")
SERVER = token("accepted", "database/app|, ")
CALLER = token("secret", "database/app")


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "stack.yaml")
    state.begin("shop")
    for name in (*NAMES, "app/secret-key"):
        vault(state).secret(name)
    return state


def vault(state: State, *, is_reading: bool = False) -> Vault:
    """As another run would have it: what was read before is not remembered."""
    return Vault(state, TOPOLOGY, is_reading)


def taken(state: State) -> list[str]:
    return vault(state).fill(SERVER).split(", ")


def used(state: State) -> str:
    return vault(state).fill(CALLER)


def begun(state: State) -> PasswordChange:
    vault(state).prepare_next_passwords(NAMES)
    change = under_way(state)
    assert change is not None
    return change


def test_each_step_s_callers_are_taken_by_the_servers_of_the_step_before_and_after(state: State) -> None:
    old = used(state)
    seen = [({old}, old)]
    change: PasswordChange | None = begun(state)
    steps = []
    while change is not None:
        steps.append(change.step)
        seen.append((set(taken(state)), used(state)))
        change = password_change.next_step(state, change)
    seen.append((set(taken(state)), used(state)))

    assert steps == list(PasswordStep)
    for (before, uses_before), (after, uses_after) in pairwise(seen):
        # Hosts are changed one after the other: whichever has which step, each caller is taken by each server.
        assert uses_before in before & after
        assert uses_after in before & after
    assert seen[-1] == ({used(state)}, used(state))
    assert used(state) != old
    assert under_way(state) is None


def test_servers_need_not_notice_that_callers_use_another(state: State) -> None:
    for _ in range(8):  # whichever of the two comes first by its letters
        change = begun(state)
        before = taken(state)
        following = password_change.next_step(state, change)
        assert taken(state) == before
        assert following is not None
        while following := password_change.next_step(state, following):
            pass


def test_only_what_a_server_can_take_two_of_is_changed(state: State) -> None:
    key = vault(state).secret("app/secret-key")
    looking = vault(state)
    looking.fill(f"{SERVER}{CALLER}{token('secret', 'app/secret-key')}")
    assert looking.accepted_names == {"database/app"}
    vault(state).prepare_next_passwords(looking.accepted_names)
    change = under_way(state)
    while change:
        assert set(change.coming) == {"database/app"}
        change = password_change.next_step(state, change)
    assert vault(state).secret("app/secret-key") == key


def test_what_was_never_made_is_not_changed(state: State) -> None:
    vault(state).prepare_next_passwords([*NAMES, "cache/agent"])
    change = under_way(state)
    assert change is not None
    assert set(change.coming) == set(NAMES)
    assert vault(state, is_reading=True).fill(token("accepted", "cache/agent| ")) == NOT_YET


def test_a_secret_made_meanwhile_is_taken_and_used_as_it_is(state: State) -> None:
    begun(state)
    new = vault(state).secret("cache/app")
    assert vault(state).fill(token("accepted", "cache/app| ")) == new


class Died(Exception):
    """As kill -9 between two operations on files."""


def test_interrupted_between_any_two_files_nothing_is_lost_and_it_goes_on(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, unlink = State.write, Path.unlink
    left = 0

    def counted(operation: Callable[..., None]) -> Callable[..., None]:
        def either(*words: object, **options: object) -> None:
            nonlocal left
            if left == 0:
                raise Died
            left -= 1
            operation(*words, **options)

        return either

    deaths = 0
    for survives in range(10):
        change: PasswordChange | None = begun(state)
        while change is not None:
            before = set(taken(state))
            left = survives
            with monkeypatch.context() as patched:
                patched.setattr(State, "write", counted(write))
                patched.setattr(Path, "unlink", counted(unlink))
                try:
                    change = password_change.next_step(state, change)
                    continue
                except Died:
                    deaths += 1
            assert used(state) in taken(state)
            assert used(state) in before, "no host was told of it yet"
            change = under_way(state)
            assert change is not None
            password_change.next_step(state, change)
            change = under_way(state)
    # Before each of the two first files, and in the end before each of three.
    assert deaths == 2 + 3


def test_a_damaged_file_is_never_taken_for_none(state: State) -> None:
    begun(state)
    (state.folder / password_change.FILE).write_text('{"step": "USE"')
    with pytest.raises(WrongInput, match=r"passwords\.json cannot be read"):
        under_way(state)


def test_passwords_that_are_to_come_are_readable_by_the_owner_only_and_shown_by_nothing(state: State) -> None:
    change = begun(state)
    path = state.folder / password_change.FILE
    assert path.stat().st_mode & 0o077 == 0
    coming = json.loads(path.read_text())["next"]["database/app"]
    assert coming not in repr(change)
    assert len(coming) == 32
