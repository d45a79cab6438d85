"""What the router decides from what it heard, and what it tells HAProxy."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nospof.onhost import database_routing as routing
from nospof.onhost.database_routing import Actual, Document, Give, Group, Heard, Remembered, Wanted

HOSTS = ("db1", "db2", "w1")
NOW_S, HOLD_S = 1000.0, 10.0
PRIMARY = Document(1, 3, 50, "primary", True, False, False)
REPLICA = Document(1, 3, 50, "replica", False, True, False)
WITNESS = replace(REPLICA, fit_for_reads=False)
NOBODY = Document(1, 3, 50, "none", False, False, False)
ALL_WELL = {"db1": PRIMARY, "db2": REPLICA, "w1": WITNESS}
LONG_AGO = {(host, for_writes): 0.0 for host in HOSTS for for_writes in (True, False)}
LED = Remembered(3, "db1", frozenset({"db2"}), closed_at_s=LONG_AGO)
WRITE, READ = Group("database-primary", {"database-3306": 2000}), Group("database-replica", {"database-3307": 2000})


def decided(
    documents: dict[str, Document],
    remembered: Remembered = LED,
    now_s: float = NOW_S,
    heard_at_s: float = NOW_S,
    **heard_at: float,
) -> tuple[Wanted, Remembered]:
    heard = {host: Heard(document, heard_at.get(host, heard_at_s)) for host, document in documents.items()}
    return routing.decide(HOSTS, heard, remembered, now_s, hold_s=HOLD_S)


def given_to(wanted: Wanted, group: str, give: Give = Give.ALL) -> set[str]:
    return {host for (host, for_writes), given in wanted.servers.items() if for_writes is (group == "write") and given is give}


# --- who writes -----------------------------------------------------------------------------------------------------------
def test_the_primary_gets_the_writes_and_fit_replicas_the_reads() -> None:
    wanted, remembered = decided(ALL_WELL, Remembered())
    assert (given_to(wanted, "write"), given_to(wanted, "read")) == ({"db1"}, {"db2"})
    assert not wanted.pauses_writes
    assert (remembered.term, remembered.writer) == (3, "db1")


def test_of_two_that_claim_the_writes_the_higher_term_has_them() -> None:
    wanted, _ = decided({**ALL_WELL, "db2": replace(PRIMARY, term=4, revision=1)})
    assert given_to(wanted, "write") == {"db2"}


def test_of_two_in_one_term_the_later_revision_has_them_and_a_tie_changes_nothing() -> None:
    assert decided({"db1": PRIMARY, "db2": replace(PRIMARY, revision=51)})[0].writer == "db2"
    assert decided({"db1": PRIMARY, "db2": PRIMARY})[0].writer == "db1"
    assert decided({"db1": PRIMARY, "db2": PRIMARY}, replace(LED, writer="db2"))[0].writer == "db2"


def test_a_claim_of_an_old_term_is_none_even_if_the_new_term_was_heard_of_long_ago() -> None:
    for documents, remembered in (
        ({"db1": PRIMARY}, replace(LED, term=4)),
        ({**ALL_WELL, "w1": replace(WITNESS, term=4)}, LED),
    ):
        wanted, after = decided(documents, replace(remembered, without_writer_since_s=0.0))
        assert wanted.writer is None
        assert given_to(wanted, "write") == set()
        assert after.term == 4
        assert "db1 of term 3" in wanted.why


def test_a_stale_document_claims_nothing_but_its_term_counts() -> None:
    documents = {**ALL_WELL, "w1": replace(WITNESS, term=5)}
    wanted, remembered = decided(documents, w1=NOW_S - 60)
    assert remembered.term == 5
    assert wanted.pauses_writes
    assert decided(ALL_WELL, db1=NOW_S - routing.FRESH_S - 0.01)[0].pauses_writes
    assert not decided(ALL_WELL, db1=NOW_S - routing.FRESH_S)[0].pauses_writes


def test_a_primary_that_may_not_acknowledge_gets_nothing_new() -> None:
    assert decided({**ALL_WELL, "db1": replace(PRIMARY, takes_writes=False)})[0].pauses_writes


# --- the pause ------------------------------------------------------------------------------------------------------------
def test_connections_wait_for_a_primary_but_not_for_ever() -> None:
    documents = {**ALL_WELL, "db1": NOBODY}
    wanted, remembered = decided(documents)
    assert wanted.pauses_writes
    assert given_to(wanted, "write") == {"db1"}, "its open sessions stay until there is a successor"
    wanted, remembered = decided(documents, remembered, NOW_S + 9.9, NOW_S + 9.9)
    assert wanted.pauses_writes
    wanted, remembered = decided(documents, remembered, NOW_S + 10, NOW_S + 10)
    assert not wanted.pauses_writes
    assert given_to(wanted, "write") == set()
    wanted, remembered = decided(ALL_WELL, remembered, NOW_S + 11, NOW_S + 11)
    assert (wanted.writer, remembered.without_writer_since_s) == ("db1", None)


def test_a_program_that_begins_in_a_pause_ends_nobodys_sessions() -> None:
    """Incident: a router started again in a handover put the primary out, and its sessions with it."""
    wanted, remembered = decided({**ALL_WELL, "db1": replace(PRIMARY, takes_writes=False, is_moving=True)}, Remembered())
    assert not [host for host, for_writes in wanted.servers if for_writes]
    wanted, _ = decided({**ALL_WELL, "db1": NOBODY}, remembered, NOW_S + 10, NOW_S + 10)
    assert given_to(wanted, "write", Give.NOTHING) == set(HOSTS)


def test_a_handover_pauses_for_one_and_a_half_seconds_only() -> None:
    documents = {**ALL_WELL, "db1": replace(PRIMARY, is_moving=True)}
    wanted, remembered = decided(documents)
    assert wanted.pauses_writes
    assert wanted.look_again_s <= NOW_S + 1.5
    wanted, remembered = decided(documents, remembered, NOW_S + 1.5, NOW_S + 1.5)
    assert not wanted.pauses_writes
    assert given_to(wanted, "write") == {"db1"}
    _, remembered = decided(ALL_WELL, remembered, NOW_S + 2, NOW_S + 2)
    assert decided(documents, remembered, NOW_S + 3, NOW_S + 3)[0].pauses_writes, "the next handover is another"


def test_who_is_of_an_old_term_does_not_pause_anybody() -> None:
    assert not decided({**ALL_WELL, "db2": replace(REPLICA, term=2, is_moving=True)})[0].pauses_writes


def test_a_primary_that_comes_and_goes_lets_those_who_wait_through_each_time() -> None:
    remembered, paused = LED, []
    for step in range(10):
        documents = ALL_WELL if step % 2 else {**ALL_WELL, "db1": NOBODY}
        wanted, remembered = decided(documents, remembered, NOW_S + step, NOW_S + step)
        paused.append(wanted.pauses_writes)
    assert paused == [True, False] * 5


def test_reads_wait_only_where_nobody_can_answer_them() -> None:
    assert not decided({**ALL_WELL, "db1": NOBODY})[0].pauses_reads
    assert decided({"db1": NOBODY, "w1": WITNESS})[0].pauses_reads
    assert not decided({"db1": PRIMARY, "w1": WITNESS})[0].pauses_reads


# --- who reads ------------------------------------------------------------------------------------------------------------
def test_the_last_replica_answers_reads_until_it_is_the_primary() -> None:
    moving = {"db2": replace(NOBODY, is_moving=True), "w1": WITNESS}
    wanted, remembered = decided(moving)
    assert given_to(wanted, "read") == {"db2"}
    assert not wanted.pauses_reads
    wanted, _ = decided({"db2": replace(PRIMARY, term=4), "w1": WITNESS}, remembered)
    assert (given_to(wanted, "read"), given_to(wanted, "write")) == (set(), {"db2"})


def test_a_replica_that_is_promoted_leaves_the_reads_to_another() -> None:
    documents = {"db2": replace(NOBODY, is_moving=True), "w1": REPLICA}
    assert given_to(decided(documents)[0], "read") == {"w1"}


def test_a_replica_not_heard_gets_nothing_new_but_keeps_its_sessions() -> None:
    wanted, remembered = decided(ALL_WELL, db2=NOW_S - 1)
    assert given_to(wanted, "read", Give.NO_NEW) == {"db2"}
    wanted, remembered = decided(ALL_WELL, remembered, NOW_S + 5, NOW_S + 5, db2=NOW_S - 1)
    assert given_to(wanted, "read", Give.NO_NEW) == {"db2"}
    assert given_to(decided(ALL_WELL, remembered, NOW_S + 6, NOW_S + 6)[0], "read") == {"db2"}


def test_a_replica_that_says_no_itself_loses_its_sessions() -> None:
    wanted, _ = decided({**ALL_WELL, "db2": WITNESS})
    assert given_to(wanted, "read", Give.NOTHING) == {"db1", "db2", "w1"}


def test_who_hears_nobody_leaves_the_servers_as_they_are() -> None:
    wanted, remembered = decided(ALL_WELL, heard_at_s=NOW_S - 5)
    assert wanted.servers == {}
    assert wanted.pauses_writes
    assert (remembered.writer, remembered.readers) == ("db1", frozenset({"db2"}))
    wanted, _ = decided(ALL_WELL, remembered, NOW_S + 30, heard_at_s=NOW_S - 5)
    assert wanted.servers == {}
    assert not wanted.pauses_writes


def test_time_in_which_the_program_was_frozen_counts_for_nobody() -> None:
    heard = {"db1": Heard(PRIMARY, NOW_S - 7.2)}
    assert routing.excused(heard, 7.0) == {"db1": Heard(PRIMARY, NOW_S - 0.2)}


# --- whatever is heard ----------------------------------------------------------------------------------------------------
documents = st.builds(
    Document,
    version=st.integers(0, 9),
    term=st.integers(0, 4),
    revision=st.integers(0, 9),
    role=st.sampled_from(["primary", "replica", "none"]),
    takes_writes=st.booleans(),
    fit_for_reads=st.booleans(),
    is_moving=st.booleans(),
)
steps = st.lists(
    st.tuples(st.floats(0, 3), st.dictionaries(st.sampled_from(HOSTS), documents)),
    min_size=1,
    max_size=12,
)


@given(steps)
def test_whatever_is_heard_there_is_one_writer_of_the_highest_term_and_every_pause_ends(
    history: list[tuple[float, dict[str, Document]]],
) -> None:
    heard: dict[str, Heard] = {}
    remembered, now_s, highest = Remembered(), NOW_S, 0
    for passed_s, news in history:
        now_s += passed_s
        heard.update({host: Heard(document, now_s) for host, document in news.items()})
        highest = max([highest, *(item.document.term for item in heard.values())])
        wanted, remembered = routing.decide(HOSTS, heard, remembered, now_s, hold_s=HOLD_S)
        assert remembered.term == highest
        assert len(given_to(wanted, "write")) <= 1
        for host in given_to(wanted, "write") if not wanted.pauses_writes else ():
            assert heard[host].document.claims_writes
            assert heard[host].document.term == highest
            assert now_s - heard[host].at_s <= routing.FRESH_S
        assert not wanted.pauses_reads or wanted.pauses_writes
        assert wanted.look_again_s >= now_s
    for _ in range(20):
        # Nobody says anything any more.
        now_s = min(wanted.look_again_s, now_s + 20) + 0.001
        wanted, remembered = routing.decide(HOSTS, heard, remembered, now_s, hold_s=HOLD_S)
    assert wanted.look_again_s == routing.NEVER
    assert not wanted.pauses_writes


# --- what is not believed -------------------------------------------------------------------------------------------------
def text(**changes: object) -> bytes:
    return json.dumps({**asdict(PRIMARY), "host": "db1", "tier": "database", **changes}).encode()


def test_a_document_is_read() -> None:
    assert routing.parse_document(text(is_stale=False), "database", "db1") == PRIMARY


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{",
        b"[" * 100_000,
        text(term="3"),
        text(term=True),
        text(term=-1),
        text(term=1 << 53),
        text(term=3.0),
        text(term=None),
        text(takes_writes=1),
        text(takes_writes="true"),
        text(role=["primary"]),
        text(host="db2"),
        text(tier="other"),
    ],
)
def test_what_is_no_document_of_this_host_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        routing.parse_document(wrong, "database", "db1")


# --- what HAProxy is told -------------------------------------------------------------------------------------------------
FRESHLY_STARTED = Actual(
    {(group.backend, host): Give.ALL for group in (WRITE, READ) for host in HOSTS},
    {"database-3306": 2000, "database-3307": 2000},
)


def led() -> Actual:
    return routing.commands(decided(ALL_WELL)[0], FRESHLY_STARTED, WRITE, READ)[1]


def test_haproxy_that_is_as_wanted_is_told_nothing() -> None:
    wanted, _ = decided(ALL_WELL)
    assert routing.commands(wanted, led(), WRITE, READ) == ([], led())


def test_the_writes_move_while_new_connections_wait_and_the_old_sessions_end_a_little_later() -> None:
    """Incident: HAProxy 3.0.11 let clients wait for ever whose sessions were ended while they were connecting to the server."""
    _, remembered = decided(ALL_WELL)
    moved = {"db1": replace(REPLICA, term=4), "db2": replace(PRIMARY, term=4), "w1": WITNESS}
    wanted, remembered = decided(moved, remembered)
    lines, actual = routing.commands(wanted, led(), WRITE, READ)
    assert lines == [
        "set maxconn frontend database-3306 0",
        "set server database-replica/db1 state ready",
        "set server database-replica/db1 health up",
        "set server database-primary/db2 state ready",
        "set server database-primary/db2 health up",
        "set server database-primary/db1 state drain",
        "set server database-replica/db2 state drain",
        "set maxconn frontend database-3306 2000",
    ]
    assert routing.commands(wanted, actual, WRITE, READ)[0] == []
    later_s = wanted.look_again_s
    assert NOW_S < later_s <= NOW_S + 0.1
    wanted, _ = decided(moved, remembered, later_s, later_s)
    lines, actual = routing.commands(wanted, actual, WRITE, READ)
    assert [line for line in lines if "maxconn" not in line and "health" not in line] == [
        "set server database-primary/db1 state maint",
        "shutdown sessions server database-primary/db1",
        "set server database-replica/db2 state maint",
        "shutdown sessions server database-replica/db2",
    ]
    assert routing.commands(wanted, actual, WRITE, READ)[0] == []


def test_the_sessions_of_a_dark_primary_end_when_nobody_can_be_connecting_to_it_any_more() -> None:
    _, remembered = decided(ALL_WELL)
    successor = {**ALL_WELL, "db2": replace(PRIMARY, term=4)}
    wanted, remembered = decided(successor, remembered, NOW_S + 2, NOW_S + 2, db1=NOW_S)
    assert given_to(wanted, "write", Give.NO_NEW) == {"db1"}
    wanted, remembered = decided(successor, remembered, NOW_S + 2.5, NOW_S + 2.5, db1=NOW_S)
    assert given_to(wanted, "write", Give.NO_NEW) == {"db1"}
    wanted, remembered = decided(successor, remembered, NOW_S + 2.61, NOW_S + 2.61, db1=NOW_S)
    assert given_to(wanted, "write", Give.NOTHING) == {"db1", "w1"}


def test_after_a_pause_the_sessions_of_the_old_primary_end_at_once() -> None:
    _, remembered = decided(ALL_WELL)
    _, remembered = decided({**ALL_WELL, "db1": replace(PRIMARY, is_moving=True)}, remembered)
    moved = {"db1": replace(REPLICA, term=4), "db2": replace(PRIMARY, term=4), "w1": WITNESS}
    wanted, _ = decided(moved, remembered, NOW_S + 0.1, NOW_S + 0.1)
    assert given_to(wanted, "write", Give.NOTHING) == {"db1", "w1"}


def test_who_is_out_stays_out_until_he_is_in() -> None:
    wanted, _ = decided({"db1": PRIMARY}, Remembered())
    out = Actual({("database-primary", "w1"): Give.NOTHING, ("database-primary", "db1"): Give.ALL}, {})
    assert not any("w1" in line for line in routing.commands(wanted, out, WRITE, None)[0])


def test_the_last_replica_leaves_the_reads_after_the_primary_is_there() -> None:
    wanted, _ = decided({"db2": replace(PRIMARY, term=4)})
    lines, _ = routing.commands(wanted, led(), WRITE, READ)
    assert lines.index("set server database-primary/db2 state ready") < lines.index(
        "set server database-replica/db2 state maint"
    )


def test_a_pause_and_its_end() -> None:
    moving, _ = decided({**ALL_WELL, "db1": replace(PRIMARY, is_moving=True)})
    lines, actual = routing.commands(moving, led(), WRITE, READ)
    assert lines == ["set maxconn frontend database-3306 0"]
    lines, actual = routing.commands(decided(ALL_WELL)[0], actual, WRITE, READ)
    # A check may have said no meanwhile.
    assert lines == ["set server database-primary/db1 health up", "set maxconn frontend database-3306 2000"]
    assert actual == led()


def test_letting_go_ends_each_pause_and_lets_nobody_in_unchecked() -> None:
    moving, _ = decided({**ALL_WELL, "db1": replace(PRIMARY, is_moving=True)})
    paused = routing.commands(moving, led(), WRITE, READ)[1]
    lines = routing.freeing(paused, (WRITE, READ))
    assert lines[:2] == ["set maxconn frontend database-3306 0", "set maxconn frontend database-3307 0"]
    assert lines[-2:] == ["set maxconn frontend database-3306 2000", "set maxconn frontend database-3307 2000"]
    for line in (line for line in lines if line.endswith("ready")):
        assert lines[lines.index(line) + 1] == line.replace("state ready", "health down")
    assert not any("database-primary/db1" in line for line in lines), "who is in stays in"


def test_what_haproxy_says_of_itself_is_read() -> None:
    state = "1\n# be_id be_name\n"
    for host, admin in (("db1", 0), ("db2", 1), ("w1", 8)):
        state += f"3 database-primary 1 {host} 198.18.1.4 2 {admin} 1 1 0 6 3 3 6 0 0 0 - 3306 - 0 8008 - - 0\n"
    assert routing.parse_servers(state + "\n") == {
        ("database-primary", "db1"): Give.ALL,
        ("database-primary", "db2"): Give.NOTHING,
        ("database-primary", "w1"): Give.NO_NEW,
    }
    stat = "# pxname,svname,qcur,qmax,scur,smax,slim,stot\ndatabase-3306,FRONTEND,,,0,0,0,0,\nother,BACKEND,,,0,0,5,0\n"
    assert routing.parse_frontends(state + stat) == {"database-3306": 0}
