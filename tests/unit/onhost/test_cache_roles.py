from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from nospof.onhost import cache_roles as roles
from nospof.onhost.cache_roles import NO_WRITES, Beginning, Remembered, Role, Rules, Seen, ServerSeen, Watch

ME, OTHER, THIRD = "10.0.0.1", "10.0.0.2", "10.0.0.3"
RULES = Rules(ME, members=2, watchers=3, trust_s=0.8, needs=0, read_lag_limit_s=10)
PRIMARY = ServerSeen(is_primary=True, min_replicas=0)
REPLICA = ServerSeen(is_primary=False, min_replicas=NO_WRITES, primary_address=OTHER, is_linked=True)
NOW_S = 100.0


def watch(address: str = ME, epoch: int = 1, asked_s: float = NOW_S, **others: bool) -> Watch:
    return Watch(address, epoch, **{"is_down": False, "is_replacing": False, **others}, asked_s=asked_s)


def seen(
    server: ServerSeen | None, watches: Sequence[Watch] = (), followed_s: float = roles.NEVER, now_s: float = NOW_S
) -> Seen:
    return Seen(server, watches, followed_s, now_s)


def takes_writes(what: Seen, before: Remembered = Remembered(), rules: Rules = RULES) -> bool:  # noqa: B008 - a frozen value
    concluded, _ = roles.conclude(what, before, rules)
    # Never one without the other: what is told, and what the server is made to do.
    assert concluded.takes_writes == (concluded.min_replicas != NO_WRITES)
    return concluded.takes_writes


# --- who takes writes -----------------------------------------------------------------------------------------------------
def test_primary_that_a_majority_names_takes_writes() -> None:
    assert takes_writes(seen(PRIMARY, [watch(), watch()]))


def test_word_of_one_watcher_is_not_enough() -> None:
    assert not takes_writes(seen(PRIMARY, [watch()]))


def test_what_a_watcher_said_long_ago_counts_no_more() -> None:
    assert takes_writes(seen(PRIMARY, [watch(asked_s=NOW_S - 0.7), watch(asked_s=NOW_S - 0.7)]))
    assert not takes_writes(seen(PRIMARY, [watch(asked_s=NOW_S - 0.7), watch(asked_s=NOW_S - 0.9)]))


def test_trust_is_as_old_as_the_older_of_the_two_answers_that_make_a_majority() -> None:
    _, remembered = roles.conclude(seen(PRIMARY, [watch(), watch(asked_s=NOW_S - 0.5)]), Remembered(), RULES)

    assert remembered.trusted_s == NOW_S - 0.5


def test_watcher_that_takes_it_for_lost_does_not_vouch_for_it() -> None:
    assert not takes_writes(seen(PRIMARY, [watch(), watch(is_down=True)]))


def test_primary_that_was_replaced_takes_none_at_once_though_it_was_trusted_a_moment_ago() -> None:
    before = Remembered(term=1, trusted_s=NOW_S - 0.1, named_epoch=1, primary_since_s=0.0)

    assert not takes_writes(seen(PRIMARY, [watch(OTHER, 2), watch(OTHER, 2), watch()]), before)


def test_primary_that_all_others_follow_takes_writes_without_watchers() -> None:
    assert takes_writes(seen(PRIMARY, [], followed_s=NOW_S - 0.3))
    assert not takes_writes(seen(PRIMARY, [], followed_s=NOW_S - 0.9))


def test_promoted_server_takes_none_until_a_majority_says_so() -> None:
    """It may be the only one that was told, by a Sentinel that died."""
    assert not takes_writes(seen(PRIMARY, [watch(OTHER, 4), watch(OTHER, 4)], followed_s=NOW_S))


def test_single_server_asks_nobody() -> None:
    assert takes_writes(seen(PRIMARY), rules=replace(RULES, members=1, watchers=0))


def test_nothing_is_written_while_the_role_is_handed_over() -> None:
    concluded, _ = roles.conclude(seen(PRIMARY, [watch(), watch()]), Remembered(), RULES, is_leaving=True)

    assert (concluded.takes_writes, concluded.min_replicas, concluded.is_moving) == (False, NO_WRITES, True)


def test_allowed_writes_need_as_many_copies_as_the_stack_says() -> None:
    concluded, _ = roles.conclude(seen(PRIMARY, [watch(), watch()]), Remembered(), replace(RULES, needs=1))

    assert concluded.min_replicas == 1


@pytest.mark.parametrize("server", [REPLICA, None, replace(PRIMARY, is_loading=True)])
def test_nobody_else_takes_writes(server: ServerSeen | None) -> None:
    assert not takes_writes(seen(server, [watch(), watch()], followed_s=NOW_S))


def test_the_highest_epoch_is_remembered_as_term() -> None:
    _, remembered = roles.conclude(seen(PRIMARY, [watch(epoch=7), watch(epoch=7)]), Remembered(term=3), RULES)
    _, later = roles.conclude(seen(PRIMARY, []), remembered, RULES)

    assert (remembered.term, later.term) == (7, 7)


# --- whom it follows ------------------------------------------------------------------------------------------------------
def follow(what: Seen, before: Remembered) -> str:
    return roles.conclude(what, before, RULES)[0].follow


def test_old_primary_follows_the_new_one_as_soon_as_it_hears_of_it() -> None:
    before = Remembered(term=1, named_epoch=1, primary_since_s=0.0)

    assert follow(seen(PRIMARY, [watch(OTHER, 2), watch(OTHER, 2)]), before) == OTHER


def test_server_that_was_promoted_just_now_is_not_sent_back() -> None:
    """Incident averted: a majority names the old primary for a second more."""
    before = Remembered(term=4, primary_since_s=NOW_S - 1.0)

    assert follow(seen(PRIMARY, [watch(OTHER, 4), watch(OTHER, 4)]), before) == ""


def test_server_that_nobody_names_for_long_follows_whom_they_name() -> None:
    before = Remembered(term=4, primary_since_s=NOW_S - 6.0)

    assert follow(seen(PRIMARY, [watch(OTHER, 4), watch(OTHER, 4)]), before) == OTHER


def test_being_a_replica_in_between_ends_what_it_was_named_for() -> None:
    """Primary in epoch 1, replica in 2, promoted for 3: that it was named once must not send it back to the one of 2."""
    _, remembered = roles.conclude(seen(PRIMARY, [watch(), watch()]), Remembered(), RULES)
    _, remembered = roles.conclude(seen(REPLICA, [watch(OTHER, 2), watch(OTHER, 2)]), remembered, RULES)

    assert follow(seen(PRIMARY, [watch(OTHER, 2), watch(OTHER, 2)]), remembered) == ""


def test_replica_of_the_wrong_server_is_led_to_the_right_one() -> None:
    assert follow(seen(REPLICA, [watch(THIRD, 2), watch(THIRD, 2)]), Remembered()) == THIRD


def test_replicas_are_left_to_the_watchers_while_they_replace_a_primary() -> None:
    watches = [watch(THIRD, 2), watch(THIRD, 2, is_replacing=True)]

    assert follow(seen(REPLICA, watches), Remembered()) == ""


def test_nobody_follows_itself() -> None:
    assert follow(seen(REPLICA, [watch(ME, 2), watch(ME, 2)]), Remembered()) == ""


def test_frozen_primary_that_was_replaced_is_killed_and_another_frozen_one_is_not() -> None:
    was_primary = Remembered(term=1, primary_since_s=0.0)
    replaced = seen(None, [watch(OTHER, 2), watch(OTHER, 2)])

    assert roles.conclude(replaced, was_primary, RULES)[0].kill
    assert not roles.conclude(replaced, Remembered(), RULES)[0].kill
    assert not roles.conclude(seen(None, [watch(), watch()]), was_primary, RULES)[0].kill


def test_watcher_that_counts_with_more_than_there_are_knows_strangers() -> None:
    assert not roles.knows_strangers(replace(watch(), other_watchers=2, copies=1), RULES)
    assert roles.knows_strangers(replace(watch(), other_watchers=3, copies=1), RULES)
    assert roles.knows_strangers(replace(watch(), other_watchers=2, copies=2), RULES)
    assert not roles.knows_strangers(replace(watch(), other_watchers=3, copies=2, is_replacing=True), RULES)


# --- reads, health --------------------------------------------------------------------------------------------------------
def test_copy_that_was_cut_off_for_long_serves_no_reads() -> None:
    cut = replace(REPLICA, is_linked=False, silent_s=9.0)

    assert roles.conclude(seen(cut), Remembered(), RULES)[0].fit_for_reads
    assert not roles.conclude(seen(replace(cut, silent_s=11.0)), Remembered(), RULES)[0].fit_for_reads


def test_copy_is_healthy_only_with_a_link_to_the_right_primary() -> None:
    right = [watch(OTHER, 2), watch(OTHER, 2)]

    assert roles.conclude(seen(REPLICA, right), Remembered(), RULES)[0].is_healthy
    assert not roles.conclude(seen(replace(REPLICA, is_linked=False), right), Remembered(), RULES)[0].is_healthy
    assert not roles.conclude(seen(REPLICA, [watch(THIRD, 2), watch(THIRD, 2)]), Remembered(), RULES)[0].is_healthy
    assert not roles.conclude(seen(REPLICA, [watch(OTHER, 2)]), Remembered(), RULES)[0].is_healthy


def test_primary_without_watchers_goes_on_and_says_what_is_missing() -> None:
    concluded, _ = roles.conclude(seen(PRIMARY, [], followed_s=NOW_S), Remembered(), RULES)

    assert (concluded.role, concluded.is_healthy) == (Role.PRIMARY, False)
    assert "nobody can take over" in concluded.says


# --- how it begins --------------------------------------------------------------------------------------------------------
def begins(watches: Sequence[Watch], living: int = 0, waited_s: float = 0.0) -> tuple[Beginning, str]:
    return roles.beginning(watches, RULES, living_replicas=living, waited_s=waited_s, replaced_s=9.0)


def test_server_begins_as_copy_of_whom_a_majority_names() -> None:
    assert begins([watch(OTHER, 2), watch(OTHER, 2), watch()]) == (Beginning.REPLICA, OTHER)


def test_server_waits_for_a_majority() -> None:
    assert begins([watch(OTHER, 2), watch(ME, 1)]) == (Beginning.WAIT, "")


def test_primary_that_died_waits_until_a_living_copy_has_its_place() -> None:
    """Incident averted: it is back at once, empty, and its copies throw away what they have."""
    assert begins([watch(), watch()], living=1) == (Beginning.WAIT, "")
    assert begins([watch(), watch()], living=1, waited_s=9.5) == (Beginning.PRIMARY, "")
    assert begins([watch(), watch()], living=0) == (Beginning.PRIMARY, "")


def test_spare_copy_serves_reads_only_while_it_does_not_hear_the_primary() -> None:
    spare = replace(RULES, is_spare=True)
    cut_off = replace(REPLICA, is_linked=False, silent_s=5)

    def reads(server: ServerSeen, rules: Rules) -> bool:
        return roles.conclude(seen(server, [watch(OTHER), watch(OTHER)]), Remembered(), rules)[0].fit_for_reads

    assert [reads(REPLICA, rules) for rules in (RULES, spare)] == [True, False]
    assert [reads(cut_off, rules) for rules in (RULES, spare)] == [True, True]
    assert not reads(replace(cut_off, silent_s=11), spare)
