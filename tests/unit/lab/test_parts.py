"""The parts of the lab that need no root: image names, control groups, forwarder, outcomes, doctor."""

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest

from nospof.errors import Failed, WrongInput
from nospof.lab import cgroup, doctor, forward, forwarder, host, inotify, machine, network
from nospof.lab.doctor import Check, Verdict
from nospof.lab.image import image_path
from nospof.lab.places import Places


def test_image_is_found_by_what_it_is_made_of() -> None:
    assert image_path(["b", "a"]) == image_path(("a", "b", "a", "systemd"))
    assert image_path(["a"]) != image_path(["b"])


@pytest.mark.parametrize(
    ("mounts", "root"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "/sys/fs/cgroup"),
        ("t /sys/fs/cgroup tmpfs rw 0 0\nc /sys/fs/cgroup/unified cgroup2 rw 0 0\n", "/sys/fs/cgroup/unified"),
    ],
)
def test_control_groups_are_found_on_both_kinds_of_machine(mounts: str, root: str) -> None:
    assert cgroup.mounted_at(mounts) == Path(root)


def test_machine_without_control_groups_of_version_2_is_noticed() -> None:
    assert cgroup.mounted_at("cgroup /sys/fs/cgroup/memory cgroup rw 0 0\n") is None


def test_groups_are_scopes_where_systemd_owns_the_tree(tmp_path: Path) -> None:
    owned = cgroup.Tree(tmp_path, has_systemd=True)
    (tmp_path / "nospof.slice/nospof.shop.web1.scope").mkdir(parents=True)
    (tmp_path / "nospof.slice/nospof.shop-2.web2.scope").mkdir()
    assert owned.members("shop") == ("web1",)
    argv = owned.detaching("shop", "web1", ["true"])
    assert argv[:2] == ["systemd-run", "--scope"]
    assert "--unit=nospof.shop.web1.scope" in argv
    assert "--property=Delegate=yes" in argv


def test_groups_are_folders_elsewhere(tmp_path: Path) -> None:
    plain = cgroup.Tree(tmp_path, has_systemd=False)
    plain.detaching("shop", "web1", ["true"])
    assert plain.members("shop") == ("web1",)
    assert plain.members("other") == ()
    plain.group("shop", "web1").remove()
    plain.forget("shop")
    assert list(tmp_path.iterdir()) == []


def test_memory_is_limited_where_the_machine_lets_a_group(tmp_path: Path) -> None:
    """Files of the kernel's names: this machine may have given memory to version 1."""
    group = cgroup.Group(tmp_path)
    group.limit_memory(1 << 20)
    assert not group.can_limit_memory()
    assert (group.memory_limit(), group.memory_failures()) == (None, 0)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("4096\n")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n")
    assert (group.memory_used(), group.memory_limit(), group.memory_failures()) == (4096, None, 4)
    group.limit_memory(1 << 20)
    assert group.memory_limit() == 1 << 20
    group.limit_memory(None)
    assert (tmp_path / "memory.max").read_text() == "max"


def test_cut_is_by_card_and_cable_so_that_addresses_that_move_are_meant() -> None:
    one, two = (network.Cable(Places("shop").host(f"db{number}"), "a", f"198.18.1.{number}") for number in (1, 2))
    pair = 'ether saddr { 02:00:c6:12:01:01 } oifname { "p-db2" }'
    assert network.Cut((one,), (two,)).rules() == [
        f"meta protocol ip {pair} counter drop",
        f"{pair} arp saddr ip != {{ 198.18.1.1 }} drop",
    ]
    assert network.Cut((one,), (two,), (3306, 8008)).rules() == [
        f"meta protocol ip {pair} tcp sport {{ 3306, 8008 }} counter drop",
        f"meta protocol ip {pair} tcp dport {{ 3306, 8008 }} counter drop",
    ]
    assert network.Cut(None, (two,), percent=20).rules() == [
        'meta protocol ip oifname { "p-db2" } numgen random mod 100 < 20 counter drop'
    ]


def test_program_that_fails_is_told_with_its_last_lines() -> None:
    with pytest.raises(Failed, match="ended with 3") as caught:
        machine.call(["sh", "-c", "echo first; echo last >&2; exit 3"])
    assert caught.value.detail == "last"


def test_program_that_is_missing_is_told_with_the_line_that_installs_it() -> None:
    with pytest.raises(WrongInput, match="apt-get install"):
        machine.call(["no-such-program"])


def test_forwarder_keeps_its_port_and_leaves_other_labs_theirs() -> None:
    with forwarder.listen(None, frozenset()) as first:
        port = first.getsockname()[1]
    with forwarder.listen(port, frozenset()) as again:
        assert again.getsockname()[1] == port
        with forwarder.listen(port, frozenset({port + 1})) as other:
            assert other.getsockname()[1] not in (port, port + 1)


def relay_to(*targets: tuple[str, int]) -> int:
    """Run the forwarder's relay in this network, in a thread; returns the port it listens on."""
    listening = socket.create_server(("127.0.0.1", 0))
    told = [f"{address}:{port}" for address, port in targets]
    threading.Thread(target=lambda: asyncio.run(forward._serve(listening, told)), daemon=True).start()
    return int(listening.getsockname()[1])


def test_forwarder_hands_on_an_end_of_input_and_still_brings_the_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                said = b""
                while chunk := peer.recv(65536):
                    said += chunk
                peer.sendall(said.upper())

        threading.Thread(target=answer, daemon=True).start()
        with socket.create_connection(("127.0.0.1", relay_to(server.getsockname())), timeout=5) as client:
            client.sendall(b"x" * 300_000)
            client.shutdown(socket.SHUT_WR)
            with client.makefile("rb") as answered:
                assert answered.read() == b"X" * 300_000


def test_forwarder_takes_one_address_after_the_other_and_hides_none_that_does_not_answer() -> None:
    """A drill would not notice an address that nobody holds, were the next one tried instead."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as gone:
        dead = gone.getsockname()
        gone.close()
        port = relay_to(server.getsockname(), dead)
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), timeout=5), server.accept()[0]:
                pass
            with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                client.recv(1)


def test_forwarder_resets_when_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = server.getsockname()[1]
    # On a busy machine the reset comes before `connect` has returned.
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", relay_to(("127.0.0.1", nobody))), timeout=5) as client,
    ):
        client.recv(1)


@pytest.mark.parametrize(("code", "shell"), [(0, 0), (7, 7), (-9, 137), (-15, 143)])
def test_signals_are_told_as_a_shell_does(code: int, shell: int) -> None:
    assert host._shell_code(code) == shell


def test_start_is_certain_only_when_it_was_reported() -> None:
    reader, writer = os.pipe()
    assert not host._was_marked(reader)
    os.write(writer, b".")
    assert host._was_marked(reader)
    os.close(writer)
    assert not host._was_marked(reader)
    os.close(reader)


def test_half_made_namespace_is_not_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "NAMESPACES", tmp_path)
    (tmp_path / "nospof-shop").touch()
    (tmp_path / "nospof-shop.web1").touch()
    (tmp_path / "nospof-shop-2").touch()
    assert not network.namespace_exists("nospof-shop")
    assert network.namespaces(Places("shop")) == ("nospof-shop", "nospof-shop.web1")
    network.remove_namespace("nospof-shop")
    assert not (tmp_path / "nospof-shop").exists()


def test_check_that_crashes_is_unknown_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash() -> Check:
        raise OSError("no such device")

    monkeypatch.setattr(doctor, "_memory", lambda mib: crash())
    checks = {check.name: check for check in doctor.examine(2)}
    assert checks["memory"].verdict is Verdict.UNKNOWN
    assert "no such device" in checks["memory"].what
    assert checks["open files"].verdict is not Verdict.UNKNOWN


@pytest.mark.parametrize(("room", "verdict"), [(1000, Verdict.OK), (70, Verdict.WARN), (10, Verdict.FAIL)])
def test_inotify_is_judged_by_the_number_of_hosts(monkeypatch: pytest.MonkeyPatch, room: int, verdict: Verdict) -> None:
    monkeypatch.setattr(inotify, "room_for", lambda wanted: min(room, wanted))
    check = doctor._inotify(10)
    assert check.verdict is verdict
    assert ("sysctl -w" in check.fix) is (verdict is not Verdict.OK)


@pytest.mark.parametrize(("p99_ms", "verdict"), [(0.2, Verdict.OK), (10.1, Verdict.WARN)])
def test_slow_disk_is_warned_of(monkeypatch: pytest.MonkeyPatch, p99_ms: float, verdict: Verdict) -> None:
    monkeypatch.setattr(doctor, "_fsync_p99_ms", lambda folder: p99_ms)
    assert doctor._fsync().verdict is verdict


def test_missing_tools_are_told_with_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    check = doctor._tools()
    assert check.verdict is Verdict.FAIL
    assert check.fix.startswith("apt-get install ")
    assert "systemd-container" in check.fix


def test_inotify_room_is_asked_for_and_given_back() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert inotify.room_for(3) == 3
    assert len(list(Path("/proc/self/fd").iterdir())) == before
