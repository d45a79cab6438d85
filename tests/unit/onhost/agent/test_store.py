"""What agents keep in etcd: bounded, and never at the cost of what a host needs that comes back late."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nospof.onhost.agent import model as m
from nospof.onhost.agent import store as storing
from nospof.onhost.agent.decide import decide
from nospof.onhost.agent.run import BEFORE
from nospof.onhost.agent.store import MOST_CHANGES, EtcdStore
from nospof.onhost.etcd import Done, Etcd, Refused, Swapped, Unknown, Value

PREFIX = "/nospof/shop/database/"
HOSTS = ("db1", "db2", "w1")


class Keys(Etcd):
    """etcd's keys and what is done to them, in memory. `is_lost`: the next deletion is not answered, and not done."""

    def __init__(self) -> None:
        super().__init__((), "", "", "")
        self.held: dict[str, Value] = {}
        self.revision, self.is_lost = 1, False

    def get(self, key: str) -> Value | None:
        return self.held.get(key)

    def put(self, key: str, text: str) -> int:
        self.revision += 1
        self.held[key] = Value(text, self.revision)
        return self.revision

    def swap(self, key: str, text: str, expected_revision: int, also: object = None) -> Swapped:
        present = self.held.get(key)
        if (present.mod_revision if present else 0) != expected_revision:
            return Refused(present)
        return Done(self.put(key, text))

    def delete_range(self, first: str, end: str) -> int:
        if self.is_lost:
            self.is_lost = False
            raise Unknown("no answer")
        self.held = {key: value for key, value in self.held.items() if not first <= key < end}
        self.revision += 1
        return self.revision

    @property
    def terms(self) -> list[int]:
        """Of which there is a record, oldest first."""
        names = [key.removeprefix(f"{PREFIX}history/") for key in self.held if key.startswith(f"{PREFIX}history/")]
        return sorted({int(name.removesuffix(BEFORE)) for name in names})


def store(keys: Keys, said: list[str] | None = None) -> EtcdStore:
    """An agent's store, which knows what is there."""
    made = EtcdStore(lambda: keys, PREFIX, lambda: None, (said if said is not None else []).append)
    for key, value in sorted(keys.held.items()):
        made._see(key, value)
    return made


def hands_over(keys: Keys, to: str) -> None:
    """One handover as its two hosts write it: the state, then what each of them saw of it."""
    new, old = store(keys), store(keys)
    before = new.view.cluster
    assert before is not None
    assert new.change(replace(before, term=before.term + 1, primary=to))
    old.record(before.term + 1, "{}", BEFORE)
    new.record(before.term + 1, "{}")


def with_cluster(keys: Keys, **changes: object) -> None:
    none = m.Cluster(0, 1, "db1", m.Sync.OK, {"db2": "b", "w1": "w"})
    assert store(keys).change(replace(none, **changes))  # type: ignore[arg-type]


def test_history_keeps_the_last_changes_and_no_more() -> None:
    """Each handover left two keys for ever: of 64 MiB that etcd has for everything."""
    keys = Keys()
    with_cluster(keys)
    for number in range(2 * MOST_CHANGES):
        hands_over(keys, HOSTS[number % 2])
    last = 2 * MOST_CHANGES + 1
    assert keys.terms == list(range(last - MOST_CHANGES + 1, last + 1))
    assert len(keys.held) == 2 * MOST_CHANGES + 1
    assert set(store(keys).view.history) == {key.rpartition("/")[2] for key in keys.held if "/history/" in key}


def test_host_that_was_away_for_longer_than_the_history_still_learns_where_its_own_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storing, "MOST_CHANGES", 3)
    keys, ended = Keys(), m.Position((("0", 41),), "1")
    with_cluster(keys, deposed={"w1": ended}, removed={"w1": 5})
    writer = store(keys)
    for node in HOSTS:
        writer.report(m.Report(node, "i", 1, acknowledges=False, is_fit_to_vote=False))
        writer.vote(1, m.Vote(node, "i", ended, ended))
    known = {key for key in keys.held if "/history/" not in key}
    for number in range(20):
        hands_over(keys, HOSTS[number % 2])
    assert known <= keys.held.keys()
    cluster = store(keys).view.cluster
    seen = m.Observation(
        me="w1", rules=m.Rules(tuple(map(m.Member, HOSTS))), now_s=100.0, cluster=cluster, etcd_silent_s=0.1,
        server=m.Server(), memory=m.Memory(),
    )  # fmt: skip
    assert decide(seen).actions == (m.StartServer(m.Role.SLAVE, ended),)


def test_agent_that_knows_little_of_the_history_removes_little() -> None:
    """Just started, it has read nothing yet: what it knows is no measure of what there is."""
    keys = Keys()
    for term in range(1, MOST_CHANGES):
        keys.put(f"{PREFIX}history/{term:08}", "{}")
    ignorant = EtcdStore(lambda: keys, PREFIX, lambda: None, lambda text: None)
    ignorant.record(MOST_CHANGES + 50, "{}")
    assert keys.terms == [*range(1, MOST_CHANGES), MOST_CHANGES + 50]


def test_removal_without_an_answer_is_made_up_for_at_the_next_change() -> None:
    keys, said = Keys(), list[str]()
    for term in range(1, MOST_CHANGES + 1):
        keys.put(f"{PREFIX}history/{term:08}", "{}")
    writer = store(keys, said)
    keys.is_lost = True
    writer.record(MOST_CHANGES + 1, "{}")
    assert (len(keys.terms), said) == (MOST_CHANGES + 1, ["etcd: no answer"])
    writer.record(MOST_CHANGES + 2, "{}")
    assert keys.terms == list(range(3, MOST_CHANGES + 3))


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.integers(0, 2)), max_size=80))
@settings(deadline=None, max_examples=60)
def test_no_order_of_late_writers_removes_what_is_newest(written: list[tuple[int, bool, int]]) -> None:
    """Hosts that hung write what they saw long ago, and each knows only what it wrote itself or read at its start."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(storing, "MOST_CHANGES", 5)
        keys, ever = Keys(), set[int]()
        with_cluster(keys)
        state, writers = keys.held[f"{PREFIX}cluster"], [store(keys) for _ in range(3)]
        for term, is_before, who in written:
            writers[who].record(term, json.dumps({"term": term}), BEFORE if is_before else "")
            ever.add(term)
            assert set(sorted(ever)[-5:]) <= set(keys.terms)
            assert keys.held[f"{PREFIX}cluster"] == state
