"""The agent with a server and Sentinels that only pretend: what it asks, what it does, what it writes down."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pretender import ME, OTHER, Pretender, bulk, many
from pretender import cache_config as config

from nospof.onhost import cache_agent as agent
from nospof.onhost.cache_agent import Config, Process
from nospof.onhost.cache_roles import NO_WRITES, Watch
from nospof.onhost.resp import Connection, Place, password_hash
from nospof.onhost.sentinel_monitors import Config as Monitors
from nospof.onhost.sentinel_monitors import Tier, kept_options, monitor, wanting


def info(role: str = "master", more: str = "") -> bytes:
    return bulk(f"# Replication\r\nrole:{role}\r\nmaster_repl_offset:7\r\n{more}loading:0\r\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Pretender]:
    made = Pretender(tmp_path / "server.sock")
    made.answers = {
        "INFO server": bulk("process_id:1\r\n"),
        "INFO": info(),
        "CONFIG GET": many("min-slaves-to-write", str(NO_WRITES)),
        "WAIT": b":1\r\n",
        "PUBLISH": b":0\r\n",
    }
    running = made.start()
    yield made
    running.shutdown()
    running.server_close()


@dataclass
class SaidWatcher:
    """A watcher that has said something already."""

    last: Watch | None
    asked_to_forget: int = 0

    def ask_to_forget(self) -> None:
        self.asked_to_forget += 1


def made(of: Config, *said: Watch) -> agent.Agent:
    watchers = tuple(SaidWatcher(watch) for watch in said)
    return agent.Agent(of, agent.Line(lambda: of.server, None), watchers, agent.Followers(of), agent.Teller(of))  # type: ignore[arg-type]


def says(address: str = ME, epoch: int = 1, **others: int) -> Watch:
    return Watch(address, epoch, False, False, time.monotonic(), **others)


THREE = {"watchers": {"c1": ME, "c2": OTHER, "w1": "10.0.0.3"}}


def note(of: Config) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(of.note_file).read_text())
    return found


def test_primary_that_is_named_is_allowed_to_take_writes_and_says_so(server: Pretender, tmp_path: Path) -> None:
    of = config(tmp_path, **THREE)

    made(of, says(), says()).step()

    assert "CONFIG SET min-slaves-to-write 0" in server.asked
    assert server.asked[0] == "AUTH nospof_agent p"
    assert (note(of)["role"], note(of)["takes_writes"], note(of)["term"]) == ("primary", True, 1)


def test_primary_that_was_replaced_refuses_writes_and_follows(server: Pretender, tmp_path: Path) -> None:
    of = config(tmp_path, **THREE)
    one = made(of, says(), says())
    one.step()
    server.answers["CONFIG GET"] = many("min-slaves-to-write", "0")
    for watcher in one.watchers:
        watcher.last = says(OTHER, 2)
    server.asked.clear()

    one.step()

    refuses, follows = f"CONFIG SET min-slaves-to-write {NO_WRITES}", f"REPLICAOF {OTHER} 6379"
    assert server.asked.index(refuses) < server.asked.index(follows)
    assert note(of)["takes_writes"] is False


def test_server_that_does_not_answer_is_told_of(tmp_path: Path) -> None:
    of = config(tmp_path, **THREE)

    made(of, says(), says()).step()

    assert (note(of)["role"], note(of)["is_healthy"]) == ("none", False)


def test_each_new_note_has_a_higher_even_number(server: Pretender, tmp_path: Path) -> None:
    """The role server takes the odd one after it for a note that is too old."""
    of = config(tmp_path, **THREE)
    one = made(of, says(), says())
    one.step()
    first = note(of)["version"]
    for watcher in one.watchers:
        watcher.last = says(OTHER, 2)
    one.step()

    versions = [first, note(of)["version"]]
    assert all(isinstance(version, int) and version % 2 == 0 for version in versions)
    assert versions[0] < versions[1]  # type: ignore[operator]


def test_primary_has_one_watcher_at_a_time_forget_who_left(server: Pretender, tmp_path: Path) -> None:
    one = made(config(tmp_path, **THREE), *(says(other_watchers=3, copies=1) for _ in range(3)))

    one.step()

    assert [watcher.asked_to_forget for watcher in one.watchers] == [1, 0, 0]  # type: ignore[attr-defined]


def test_followers_are_those_who_acknowledge_what_was_sent_now(server: Pretender, tmp_path: Path) -> None:
    followers = agent.Followers(config(tmp_path))

    with Connection(Place(path=str(server.path)), None, 1.0) as connection:
        assert followers._all_follow(connection)
        server.answers["WAIT"] = b":0\r\n"
        assert not followers._all_follow(connection)
    assert server.asked[0].startswith("PUBLISH")


def test_server_alone_begins_as_primary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Config, "context", None)

    assert agent.start(config(tmp_path, members={"c1": ME})) == 0
    assert "replicaof" not in (tmp_path / "start.conf").read_text()


def test_server_begins_as_copy_of_whom_a_majority_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Config, "context", None)
    monkeypatch.setattr(agent, "_ask_once", lambda config, host, context: (says(OTHER, 3), 1))

    assert agent.start(config(tmp_path, **THREE)) == 0
    assert (tmp_path / "start.conf").read_text() == f"replicaof {OTHER} 6379\n"


def test_server_does_not_begin_without_a_majority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Config, "context", None)
    monkeypatch.setattr(agent, "START_S", 0.3)
    monkeypatch.setattr(agent, "_ask_once", lambda config, host, context: None)

    assert agent.start(config(tmp_path, **THREE)) == 1
    assert not (tmp_path / "start.conf").exists()


def test_copy_has_nothing_to_hand_over(server: Pretender, tmp_path: Path) -> None:
    server.answers["INFO"] = info("slave", f"master_host:{OTHER}\r\nmaster_link_status:up\r\n")

    assert agent.leave(config(tmp_path))

    assert not [asked for asked in server.asked if asked.startswith("CONFIG SET")]


def test_nobody_takes_over_while_no_copy_has_everything(
    server: Pretender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["WAIT"] = b":0\r\n"
    monkeypatch.setattr(agent, "SAME_S", 0.2)
    monkeypatch.setattr(agent, "_hand_over", lambda config: pytest.fail("it must not"))

    assert not agent.leave(config(tmp_path))

    assert not (tmp_path / "leaving").exists()


# --- spares --------------------------------------------------------------------------------------------------------------
SPARE = {"members": {"c1": ME, "c2": OTHER, "x1": "10.0.0.9"}, "host": "x1", "spares": ["x1"]}
FOLLOWED = f"slave0:ip={OTHER},port=6379,state=online,offset=7,lag=0\r\nslave1:ip={ME},port=6379,state=wait_bgsave\r\n"


def given_back(of: Config, monkeypatch: pytest.MonkeyPatch, *times_s: float) -> int:
    """How often a spare hands over that looks at these moments."""
    left: list[Config] = []

    def leave(config: Config) -> bool:
        left.append(config)
        return True

    monkeypatch.setattr(agent, "leave", leave)
    gives_back = agent.GivesBack(of)
    for time_s in times_s:
        gives_back.look(time_s)
    return len(left)


def test_spare_hands_over_once_a_normal_server_has_followed_it_for_a_while(
    server: Pretender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["INFO"] = info(more=FOLLOWED)
    spare = config(tmp_path, **SPARE)

    assert given_back(spare, monkeypatch, 100, 111) == 0
    assert given_back(spare, monkeypatch, 100, 106, 112) == 1
    assert given_back(spare, monkeypatch, 100, 112, 113, 123) == 1, "not again at once where nobody took over"


def test_spare_hands_over_to_nobody_but_a_normal_server(
    server: Pretender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_spare = config(tmp_path, **{**SPARE, "spares": ["c2", "x1"]})
    server.answers["INFO"] = info(more=FOLLOWED)
    assert given_back(other_spare, monkeypatch, 100, 120, 140) == 0, "c1 is still copying, c2 is a spare too"
    server.answers["INFO"] = info("slave", FOLLOWED)
    assert given_back(config(tmp_path, **SPARE), monkeypatch, 100, 120, 140) == 0, "it is no primary"


def test_planned_change_waits_for_all_copies_where_the_watchers_choose_by_priority(
    server: Pretender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one copy that has everything, the watchers might take another one that has not."""
    both = FOLLOWED.replace("wait_bgsave", "online")
    server.answers["INFO"] = info(more=both)
    monkeypatch.setattr(agent, "SAME_S", 0.2)
    monkeypatch.setattr(agent, "_hand_over", lambda config, to: True)

    assert not agent.leave(config(tmp_path, **{**SPARE, "host": "c1"}))
    server.answers["WAIT"] = b":2\r\n"
    assert agent.leave(config(tmp_path, **{**SPARE, "host": "c1"}))


@pytest.mark.parametrize("text", ["", "role:king\r\n"])
def test_answer_without_a_role_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="role"):
        agent.server_seen(text, 0)


def test_copy_that_never_heard_its_primary_is_silent_for_ever() -> None:
    seen = agent.server_seen("role:slave\r\nmaster_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n", 0)

    assert seen.silent_s == float("inf")


def test_process_is_told_from_another_with_its_number() -> None:
    found = Process.of(1)

    assert found is not None
    assert found.is_there()
    assert not Process(1, "never").is_there()


# --- what Sentinels are told ----------------------------------------------------------------------------------------------
def test_watcher_that_names_nobody_is_no_answer() -> None:
    with pytest.raises(ValueError, match="primary"):
        agent.watch_seen({"flags": "master"}, 0.0)


def test_flags_of_a_watcher_are_read() -> None:
    seen = agent.watch_seen({"ip": ME, "config-epoch": "4", "flags": "master,s_down,failover_in_progress"}, 1.0)

    assert (seen.is_down, seen.is_replacing, seen.epoch) == (True, True, 4)


def test_what_a_sentinel_keeps_is_read_from_its_own_file() -> None:
    text = 'port 26379\nsentinel monitor cache 10.0.0.1 6379 2\nsentinel auth-pass cache "secret"\nsentinel myid abc\n'

    assert kept_options(text) == {("auth-pass", "cache"): "secret"}


def monitors(folder: Path, own_file: str, accepts: str) -> Monitors:
    (folder / "own.conf").write_text(own_file)
    places = ("p", accepts, str(folder / "own.conf"), (), "", "", "")
    return Monitors("c1", {"c1": ME}, 26379, *places)


USER = "user default on sanitize-payload {} ~* &* +@all"


@pytest.mark.parametrize(
    ("taken", "kept", "is_told"),
    [
        (("old", "new"), ("new", "old"), False),
        (("old",), ("old",), True),
        (("old", "new"), ("old",), True),  # it would forget the other one when it starts again
        (("old", "new", "older"), ("old", "new"), True),
        ((), (), True),
    ],
)
def test_sentinel_is_told_the_passwords_that_it_is_to_take_and_keep(
    server: Pretender, tmp_path: Path, taken: tuple[str, ...], kept: tuple[str, ...], is_told: bool
) -> None:
    def user(passwords: tuple[str, ...]) -> str:
        return USER.format(" ".join(f"#{password_hash(one)}" for one in passwords) or "nopass")

    server.answers |= {"SENTINEL MASTERS": b"*0\r\n", "ACL LIST": many(user(taken))}
    told = monitors(tmp_path, f"port 26379\n{user(kept)}\n", "old new")

    with Connection(Place(path=str(server.path)), None, 2.0) as own:
        commands = list(wanting(told, own))

    setting = ("ACL", "SETUSER", "default", "resetpass", ">old", ">new")
    assert [words for _, words in commands] == ([setting, ("SENTINEL", "FLUSHCONFIG")] if is_told else [])
    assert "old" not in "".join(says for says, _ in commands)


def test_sentinel_watches_whom_it_is_told_with_a_quorum_of_two() -> None:
    tier = Tier("cache", 6379, ME, "user", "pass", 1000, 6000)

    assert monitor(tier, OTHER) == ("SENTINEL", "MONITOR", "cache", OTHER, 6379, 2)
