"""The agent of a cache of shards with servers that only pretend: what it asks, what it does, what it writes down."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pretender import Pretender, bulk

from nospof.onhost import cache_cluster as program
from nospof.onhost.cache_cluster import Agent, Config
from nospof.onhost.cache_cluster_plan import nodes_of

ME, OTHER, THIRD = "127.0.0.21", "127.0.0.22", "127.0.0.23"
INFO = "role:{role}\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\n"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "passwords.json").write_text('{"agent": "p"}')
    return Config(
        tier="cache",
        host="c1",
        ring={"c1": ME, "c2": OTHER, "c3": THIRD},
        copies=1,
        port=17100,
        bus_port=17200,
        folder=str(tmp_path),
        run_folder=str(tmp_path),
        data_folder=str(tmp_path / "data"),
        replaced_s=0.6,
        cli="/bin/false",
        log_checker="/bin/false",
        ca="",
        certificate="",
        key="",
    )


def line(number: int, address: str, more: str, slots: str = "", mark: str = "") -> str:
    return f"id{address[-2:]}-{number} {address}:{17100 + number}@{17200 + number},{mark} {more} 0 0 1 connected {slots}\n"


def nodes(config: Config, me: int) -> str:
    """As server `me` of this host sees them when all is as planned."""
    mark = config.plan.mark
    text = ""
    for index, address in enumerate(config.plan.ring):
        first = config.plan.first_slots((address, 0))
        home = "myself,master" if (address, me) == (ME, 0) else "master"
        copy = "myself,slave" if (address, me) == (ME, 1) else "slave"
        text += line(0, address, f"{home} -", f"{first.start}-{first.stop - 1}", mark)
        text += line(1, address, f"{copy} id{config.plan.ring[index - 1][-2:]}-0", "", mark)
    return text


@pytest.fixture
def servers(config: Config) -> Iterator[tuple[Pretender, Pretender]]:
    made = []
    for number, role in enumerate(("master", "slave")):
        one = Pretender(Path(config.run_folder, f"server-{number}.sock"))
        one.answers = {
            "INFO replication": bulk(INFO.format(role=role)),
            "INFO server": bulk("process_id:1\r\n"),
            "INFO everything": bulk(f"role:{role}\r\nused_memory:50\r\nmaxmemory:100\r\nevicted_keys:3\r\nkeyspace_hits:4\r\n"),
            "CLUSTER INFO": bulk("cluster_state:ok\r\n"),
            "CLUSTER NODES": bulk(nodes(config, number)),
        }
        made.append((one, one.start()))
    yield made[0][0], made[1][0]
    for _, running in made:
        running.shutdown()
        running.server_close()


def changing(server: Pretender) -> list[str]:
    return [said for said in server.asked if not said.startswith(("AUTH", "INFO", "CLUSTER INFO", "CLUSTER NODES"))]


def test_nothing_is_done_where_all_is_as_planned(config: Config, servers: tuple[Pretender, Pretender]) -> None:
    Agent(config).step()

    assert servers[0].asked[0] == "AUTH nospof_agent p"
    assert [changing(server) for server in servers] == [[], []]
    assert program.main(["--config", written(config), "health"]) == 0


def written(config: Config) -> str:
    path = Path(config.folder, "agent.json")
    path.write_text(json.dumps({name: getattr(config, name) for name in config.__dataclass_fields__}))
    return str(path)


def test_server_is_told_the_plan(config: Config, servers: tuple[Pretender, Pretender]) -> None:
    servers[1].answers["CLUSTER NODES"] = bulk(nodes(config, 1).replace(config.plan.mark, "plan-before"))

    Agent(config).step()

    assert changing(servers[1]) == [f"CONFIG SET cluster-announce-hostname {config.plan.mark}"]


def test_those_who_answer_are_met(config: Config, servers: tuple[Pretender, Pretender]) -> None:
    alone = line(0, ME, "myself,master -", "", config.plan.mark)
    servers[0].answers["CLUSTER NODES"] = bulk(alone)
    with socket.create_server((OTHER, 17100)):
        agent = Agent(config)
        agent.step()

    assert changing(servers[0]) == [f"CLUSTER MEET {OTHER} 17100 17200"]


def test_server_with_a_new_disk_is_not_well_before_it_has_looked_for_the_others(
    config: Config, servers: tuple[Pretender, Pretender]
) -> None:
    """Incident: for a second it seemed to be the first of all, which lacks nothing that it could have."""
    agent = Agent(config)
    agent.step()
    servers[0].answers["CLUSTER NODES"] = bulk(line(0, ME, "myself,master -", "", config.plan.mark))

    agent.step()
    assert f"server 0 has not met {OTHER} yet" in program.read_note(config)["lacks"]
    agent._next_meeting_s = 0.0
    agent.step()  # nobody answers
    agent.step()
    assert program.read_note(config)["lacks"] == []


def test_those_with_the_ports_of_before_are_met_already(config: Config, servers: tuple[Pretender, Pretender]) -> None:
    """While `up` changes them host by host, nobody is to wait for new ports that are not there yet."""
    others = "".join(line(100 + n, a, "master -", "", "plan-before") for a in (OTHER, THIRD) for n in (0, 1))
    servers[0].answers["CLUSTER NODES"] = bulk(line(0, ME, "myself,master -", "0-16383", config.plan.mark) + others)

    agent = Agent(config)
    agent.step()

    assert {place[0] for place in agent.servers[0].view.unmet} == {ME}  # type: ignore[union-attr]


def test_those_who_seem_to_have_another_plan_are_asked_themselves(
    config: Config, servers: tuple[Pretender, Pretender], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [one.replace(config.plan.mark, "plan-before") if OTHER in one else one for one in nodes(config, 0).splitlines(True)]
    servers[0].answers["CLUSTER NODES"] = bulk("".join(late))
    agent = Agent(config)

    agent.step()
    agent.step()
    assert program.read_note(config)["lacks"] == [f"server 0 does not know yet which plan {OTHER} has"] * 2

    asked: list[tuple[object, int]] = []

    def mark_of(place: object, port: int) -> str:
        asked.append((place, port))
        return config.plan.mark

    monkeypatch.setattr(agent, "_mark_of", mark_of)
    agent._next_meeting_s = 0.0
    agent.step()
    agent.step()
    assert sorted(asked) == [((OTHER, 0), 17100), ((OTHER, 1), 17101)]
    assert program.read_note(config)["lacks"] == []


def test_own_servers_are_told_the_plan_before_anybody_is_asked_for_it(
    config: Config, servers: tuple[Pretender, Pretender], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Incident: asked too soon, the second server of a host passed for one that was still to get the plan."""
    servers[0].answers["CLUSTER NODES"] = bulk(nodes(config, 0).replace(config.plan.mark, "plan-before"))
    agent = Agent(config)
    told: list[int] = []

    def mark_of(place: object, port: int) -> str:
        told.append(len(changing(servers[0])))
        return "plan-before"

    monkeypatch.setattr(agent, "_mark_of", mark_of)

    agent.step()

    assert set(told) == {1}


def test_home_takes_its_shard_back_after_a_while_of_calm(
    config: Config, servers: tuple[Pretender, Pretender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "CALM_S", 0.1)
    told = nodes(config, 0).splitlines(keepends=True)
    home, taker = told[0].split(), told[3].split()
    told[0] = line(0, ME, f"myself,slave {taker[0]}", "", config.plan.mark)
    told[3] = line(1, OTHER, "master -", home[8], config.plan.mark)
    servers[0].answers["CLUSTER NODES"] = bulk("".join(told))
    servers[0].answers["INFO replication"] = bulk(INFO.format(role="slave"))
    agent = Agent(config)

    agent.step()
    before = changing(servers[0])
    time.sleep(0.15)
    agent.step()

    assert before == []
    assert changing(servers[0]) == ["CLUSTER FAILOVER"]


def test_silent_server_is_told_of(
    config: Config, servers: tuple[Pretender, Pretender], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(config.run_folder, "server-1.sock").unlink()

    Agent(config).step()

    assert program.read_note(config)["lacks"] == ["server 1 does not answer"]
    assert program.main(["--config", written(config), "health"]) == 1


def test_note_of_the_plan_before_says_nothing(config: Config, servers: tuple[Pretender, Pretender]) -> None:
    """Incident: the last host of four was taken for settled before its agent had looked at the plan for three."""
    Agent(config).step()
    other = Config(**{**{name: getattr(config, name) for name in config.__dataclass_fields__}, "ring": {"c1": ME, "c2": OTHER}})

    with pytest.raises(ValueError, match="has not looked"):
        program.read_note(other)


def test_figures_are_of_all_servers_of_the_host(
    config: Config, servers: tuple[Pretender, Pretender], capsys: pytest.CaptureFixture[str]
) -> None:
    Agent(config).step()

    assert program.main(["--config", written(config), "figures"]) == 0
    found = {name: value for name, (_, _, value) in json.loads(capsys.readouterr().out).items()}
    assert found["cache_cluster_memory_used_share"] == 0.5
    assert found["cache_cluster_evicted_total"] == 6
    assert found["cache_cluster_primaries"] == 1
    assert found["cache_cluster_servers_lacking"] == 0
    assert found["cache_cluster_slots_unserved"] == 0


@pytest.mark.parametrize(
    ("kept", "waits"),
    [("", False), ("slave id22-0", False), ("master - 0 0 1 connected 0-5461", True), ("master - 0 0 1 connected", False)],
)
def test_only_a_primary_with_slots_waits_before_it_starts(
    config: Config, monkeypatch: pytest.MonkeyPatch, kept: str, *, waits: bool
) -> None:
    asked: list[str] = []

    def waits_for_ever(*told: object) -> bool:
        asked.append(str(told))
        return True

    monkeypatch.setattr(program, "_waits", waits_for_ever)
    monkeypatch.setattr(program, "_heard", lambda *_: [])
    folder = config.data(0)
    folder.mkdir()
    more = "" if "connected" in kept else " 0 0 1 connected"
    (folder / "nodes.conf").write_text(f"id21-0 {ME}:0@17200,,tls-port=17100 myself,{kept}{more}\nvars currentEpoch 1\n")
    if not kept:
        (folder / "nodes.conf").unlink()
    began_s = time.monotonic()

    assert program.main(["--config", written(config), "start", "0"]) == 0
    assert bool(asked) is waits
    assert (time.monotonic() - began_s >= config.replaced_s) is waits


@pytest.mark.parametrize("is_known", [True, False])
def test_what_a_server_kept_that_left_the_others_once_is_removed(
    config: Config, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    asked: list[object] = []

    def heard(_: Config, places: list[tuple[str, int]]) -> list[object]:
        asked.extend(places)
        return [nodes_of(nodes(config, 0).replace("myself,", "") if is_known else line(0, OTHER, "master -", "0-16383"))] * 2

    monkeypatch.setattr(program, "_heard", heard)
    folder = config.data(0)
    (folder / "appendonlydir").mkdir(parents=True)
    others = line(0, OTHER, "master -").replace("17100@", "7000@") + line(1, OTHER, "slave -")
    (folder / "nodes.conf").write_text(line(0, ME, "myself,slave -", "", config.plan.mark) + others)
    (folder / "appendonlydir" / "one").touch()

    assert program.main(["--config", written(config), "start", "0"]) == 0

    assert sorted(path.name for path in folder.iterdir()) == (["appendonlydir", "nodes.conf"] if is_known else [])
    assert asked == [(OTHER, 7000), (OTHER, 17100), (THIRD, 17100)]


def test_it_does_not_wait_for_those_who_give_no_answer(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Config, "context", None)

    kept = nodes_of(nodes(config, 0))

    assert program._waits(config, kept, "id21-0") is False


SAID = """\
>>> Performing Cluster Check (using node 127.9.0.1:7000)
Moving slot 0 from 127.9.0.1:7000 to 127.9.0.2:7000:
\x1b[31;1mNode 127.9.0.1:7000 replied with error:
ERR Target instance replied with error: NOPERM User nospof_agent has no permissions to run the 'select' command
\x1b[0m
"""


def test_reason_is_found_in_what_the_program_says() -> None:
    assert program.reason(SAID).startswith("ERR Target instance replied with error: NOPERM")
    assert program.reason("\x1b[31;1m*** Please fix your cluster problems before resharding\x1b[0m") == (
        "*** Please fix your cluster problems before resharding"
    )
    assert program.reason("one\ntwo\nthree\n") == "one; two"


def test_password_is_in_no_argument(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run(argv: list[str], **how: object) -> object:
        seen.append((argv, how))
        raise OSError("not here")

    monkeypatch.setattr("nospof.onhost.cache_cluster.subprocess.run", run)

    assert program.Mover(config)._cli("reshard", "--cluster-yes") == "OSError: not here"
    argv, how = seen[0]
    assert "p" not in argv
    assert how["env"]["REDISCLI_AUTH"] == "p"  # type: ignore[index]
