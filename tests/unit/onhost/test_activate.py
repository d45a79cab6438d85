"""Comparing, activating, putting back, settling: on a folder that stands for a host."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from pathlib import Path

import pytest
from onhost_machine import Machine, file, instance, unit, wanted

from nospof.onhost.activate import Activated, Care, activate
from nospof.onhost.compare import differences
from nospof.onhost.manifest import Manifest
from nospof.onhost.receipt import Journal, Receipt, read_journal, read_receipt
from nospof.onhost.settle import settle

US = Receipt(stack="shop", stack_id="abcd", finished_at="today", finished_by="me@here")


def changes(manifest: Manifest) -> list[tuple[str, str, str]]:
    found = differences(manifest, read_receipt(), read_journal())
    return [(difference.kind, Path(difference.name).name, difference.change) for difference in found]


def activate_all(manifest: Manifest) -> list[Activated]:
    names = [instance.id for instance in manifest.instances]
    return activate(manifest, names, {}, read_receipt(), read_journal())


def up(manifest: Manifest) -> list[Activated]:
    results = activate_all(manifest)
    if not any(result.failure for result in results):
        settle(manifest, read_receipt(), read_journal(), US)
    return results


def web(machine: Machine, text: str = "one", **more: object) -> dict[str, object]:
    config = file(machine.path("etc/web.conf"), text, notify={"web.service": "reload"})
    return instance("web/h1", files=[config], units=[unit("web.service")], **more)


def test_everything_missing_is_made_and_the_second_time_nothing_is_left(machine: Machine) -> None:
    manifest = wanted(web(machine))
    assert changes(manifest) == [
        ("file", "web.conf", "create"),
        ("unit", "web.service", "enable"),
        ("unit", "web.service", "start"),
    ]
    assert not up(manifest)[0].failure
    assert Path(machine.path("etc/web.conf")).read_text() == "one"
    assert changes(manifest) == []
    assert machine.calls() == ["enable web.service", "start web.service"]
    up(manifest)
    assert machine.calls() == []


def test_unit_that_runs_and_was_disabled_by_hand_is_enabled_once(machine: Machine) -> None:
    manifest = wanted(web(machine))
    up(manifest)
    machine.set_systemd(units={"web.service": {"active": "active", "enabled": "disabled", "condition": "yes"}}, calls=[])
    assert changes(manifest) == [("unit", "web.service", "enable")]
    up(manifest)
    assert machine.calls() == ["enable web.service"]
    assert changes(manifest) == []


def test_changed_file_reloads_its_unit_and_no_other(machine: Machine) -> None:
    other = instance(
        "app/h1",
        files=[file(machine.path("etc/app.conf"), "x", notify={"app.service": "restart"})],
        units=[unit("app.service")],
    )
    up(wanted(web(machine), other))
    machine.calls()
    changed = wanted(web(machine, "two"), other)
    assert changes(changed) == [("file", "web.conf", "change"), ("unit", "web.service", "reload")]
    up(changed)
    assert machine.calls() == ["reload web.service"]


def test_file_that_two_instances_have_is_noticed_by_the_units_of_both(machine: Machine) -> None:
    """Incident: only the first to be activated noticed a new CA, since to the second the file was as it should be."""

    def host(ca: str) -> Manifest:
        path = machine.path("etc/ca.pem")
        one = instance("one/h1", files=[file(path, ca, notify={"one.service": "reload"})], units=[unit("one.service")])
        other = instance("two/h1", files=[file(path, ca, notify={"two.service": "restart"})], units=[unit("two.service")])
        return wanted(one, other)

    up(host("old"))
    machine.calls()
    changed = host("new")
    activate(changed, ["one/h1"], {}, read_receipt(), read_journal())
    assert machine.calls() == ["reload one.service"]
    assert ("unit", "two.service", "restart") in changes(changed)

    up(changed)
    assert machine.calls() == ["restart two.service"]
    assert changes(changed) == []


def test_restart_outweighs_reload(machine: Machine) -> None:
    up(wanted(web(machine)))
    machine.calls()
    unit_file = file(machine.path("etc/web.service"), "[Unit]", notify={"web.service": "restart"})
    both = web(machine, "two")
    both["files"] = [*both["files"], unit_file]  # type: ignore[misc]
    up(wanted(both))
    assert machine.calls() == ["restart web.service"]


def test_file_changed_by_hand_is_put_right(machine: Machine) -> None:
    manifest = wanted(web(machine))
    up(manifest)
    Path(machine.path("etc/web.conf")).write_text("by hand")
    assert ("file", "web.conf", "change") in changes(manifest)
    up(manifest)
    assert Path(machine.path("etc/web.conf")).read_text() == "one"


def test_what_another_component_ran_in_its_place_ends_before_it_starts(machine: Machine) -> None:
    """Incident that must not happen: one word of the file changed the web server, and the old one held the port."""
    up(wanted(web(machine), instance("app/h1", units=[unit("app.service")])))
    machine.calls()
    other = instance("web/h1", units=[unit("other.service")])
    up(wanted(other, instance("app/h1", units=[unit("app.service")])))
    calls = machine.calls()
    assert calls.index("stop web.service") < calls.index("start other.service")
    assert not any("app.service" in call for call in calls)


def test_what_was_in_its_place_runs_again_when_the_next_does_not_start(machine: Machine) -> None:
    up(wanted(web(machine)))
    machine.set_systemd(broken={"other.service": machine.path("etc/web.conf")})
    [result] = activate_all(wanted(instance("web/h1", units=[unit("other.service")])))
    assert result.failure
    assert result.is_restored
    assert machine.systemd()["units"]["web.service"]["active"] == "active"


def test_mode_that_is_wrong_is_put_right(machine: Machine) -> None:
    manifest = wanted(web(machine))
    up(manifest)
    Path(machine.path("etc/web.conf")).chmod(0o666)
    assert changes(manifest)[0] == ("file", "web.conf", "mode")
    up(manifest)
    assert stat.S_IMODE(Path(machine.path("etc/web.conf")).stat().st_mode) == 0o644


def test_unit_that_died_is_started_again(machine: Machine) -> None:
    manifest = wanted(web(machine))
    up(manifest)
    machine.set_systemd(units={"web.service": {"active": "failed", "enabled": "enabled", "condition": "yes"}})
    assert changes(manifest) == [("unit", "web.service", "start")]
    up(manifest)
    assert machine.systemd()["units"]["web.service"]["active"] == "active"


def test_unit_whose_own_conditions_forbid_it_is_no_difference(machine: Machine) -> None:
    manifest = wanted(instance("base/h1", units=[unit("time.service")]))
    machine.set_systemd(units={"time.service": {"active": "inactive", "enabled": "enabled", "condition": "no"}})
    assert [change for change in changes(manifest) if change[0] == "unit"] == []


def test_instance_that_does_not_start_gets_its_last_good_file_back(machine: Machine) -> None:
    """Incident that must not happen: a bad configuration stays on disk and the next reboot finds it."""
    up(wanted(web(machine)))
    machine.calls()
    config = machine.path("etc/web.conf")
    bad = wanted(
        web(machine, "bad", healthy_when=[{"name": "health", "argv": ["grep", "-q", "one", config], "timeout_s": 0.2}])
    )
    [result] = activate_all(bad)
    assert "health did not become healthy" in result.failure
    assert result.is_restored
    assert "it says why" in result.detail
    assert Path(config).read_text() == "one"
    assert machine.calls()[-1] == "restart web.service"
    assert changes(wanted(web(machine))) == [("receipt", "receipt", "write")]


def test_new_instance_that_fails_leaves_nothing_running(machine: Machine) -> None:
    machine.set_systemd(broken={"web.service": machine.path("etc/web.conf")})
    [result] = activate_all(wanted(web(machine)))
    assert "web.service did not start" in result.failure
    assert not Path(machine.path("etc/web.conf")).exists()
    assert machine.systemd()["units"]["web.service"]["active"] == "inactive"


def test_what_only_measures_an_instance_is_started_and_is_none_of_its_health(machine: Machine) -> None:
    both = [unit("web.service"), unit("exporter.service", is_aside=True)]
    up(wanted(instance("web/h1", units=both)))
    assert machine.calls() == ["enable web.service exporter.service", "start web.service", "start exporter.service"]
    entry = read_receipt().instances["web/h1"]
    assert (entry["units"], entry["other_units"], entry["aside_units"]) == (["web.service"], [], ["exporter.service"])
    up(wanted(instance("web/h1", units=[unit("web.service")])))
    assert "exporter.service" in " ".join(machine.calls())


def test_unit_that_dies_again_and_again_is_not_waited_for(machine: Machine) -> None:
    """Incident: with Restart=always a broken release is never "failed", and `up` waited out its whole limit."""
    units = {"web.service": {"active": "activating", "enabled": "enabled", "condition": "yes", "restarts": 5}}
    machine.set_systemd(units=units, broken={})
    health = {"name": "health", "argv": ["false"], "timeout_s": 60}
    [result] = activate_all(wanted(instance("web/h1", units=[unit("web.service")], healthy_when=[health])))
    assert result.failure == "web.service ended 5 times"


def test_what_is_well_only_once_is_not_healthy(machine: Machine) -> None:
    """A release that dies a moment after its start passes any check that is made in that moment."""
    once = Path(machine.path("once"))
    health = {"name": "health", "argv": ["sh", "-c", f"mkdir {once}"], "timeout_s": 0.2}
    manifest = wanted(instance("web/h1", units=[unit("web.service")], healthy_when=[health]))
    once.parent.mkdir(parents=True, exist_ok=True)
    [result] = activate(manifest, ["web/h1"], {}, read_receipt(), read_journal(), Care(noticed_s=0.1))
    assert "health did not become healthy" in result.failure
    once.rmdir()
    assert not activate_all(manifest)[0].failure


DRAINED = Care(drain="/run/nospof-draining/web", noticed_s=0.0123)
DRAIN = "run nospof-draining.web.service RuntimeDirectory=nospof-draining/web"
NO_MORE = "stop nospof-draining.web.service"
WAIT = "wait until that is noticed"


@pytest.fixture
def waits(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for stands among what systemd was told, and takes no time."""
    sleep = time.sleep

    def wait(time_s: float) -> None:
        if time_s == DRAINED.noticed_s:
            machine.set_systemd(calls=[*machine.systemd()["calls"], WAIT])
        else:  # the standard library, for a program that it started
            sleep(time_s)

    monkeypatch.setattr("time.sleep", wait)


@pytest.mark.usefixtures("waits")
def test_instance_gets_no_new_requests_from_before_it_changes_until_it_is_well(machine: Machine) -> None:
    up(wanted(web(machine)))
    machine.calls()
    manifest = wanted(web(machine, "two"))
    assert not activate(manifest, ["web/h1"], {}, read_receipt(), read_journal(), DRAINED)[0].failure
    # What somebody else has left is ended first, and once more at the end, whatever came in between.
    assert machine.calls() == [NO_MORE, DRAIN, WAIT, "reload web.service", NO_MORE, WAIT, NO_MORE]
    # What no unit notices, nobody who calls it does.
    machine.calls()
    quiet = wanted(web(machine, "two") | {"files": [file(machine.path("etc/notes"), "for people")]})
    for _ in range(2):
        activate(quiet, ["web/h1"], {}, read_receipt(), read_journal(), DRAINED)
    assert machine.calls() == []
    assert Path(machine.path("etc/notes")).read_text() == "for people"


def test_instance_that_was_put_back_gets_requests_again(machine: Machine) -> None:
    up(wanted(web(machine)))
    machine.calls()
    bad = wanted(web(machine, "bad", healthy_when=[{"name": "health", "argv": ["false"], "timeout_s": 0.1}]))
    assert activate(bad, ["web/h1"], {}, read_receipt(), read_journal(), DRAINED)[0].is_restored
    calls = machine.calls()
    assert calls.index(DRAIN) < calls.index("restart web.service")
    assert calls[-1] == NO_MORE


def test_restarts_of_an_earlier_day_are_no_sign_of_a_unit_that_dies(machine: Machine) -> None:
    """Incident: an agent that was killed twice in its life made the next change of its server's settings fail."""
    units = {"web.service": {"active": "active", "enabled": "enabled", "condition": "yes", "restarts": 5}}
    machine.set_systemd(units=units, broken={})
    health = {"name": "health", "argv": ["false"], "timeout_s": 0.3}
    [result] = activate_all(wanted(instance("web/h1", units=[unit("web.service")], healthy_when=[health])))
    assert result.failure == "health did not become healthy within 0 s"


def test_effect_of_a_step_may_take_a_moment(machine: Machine) -> None:
    """Incident: a database that joined was down for its copy when its accounts were asked for."""
    done = Path(machine.path("done"))
    done.parent.mkdir(parents=True, exist_ok=True)
    argv = ["sh", "-c", f"(sleep 0.5; touch {done}) >/dev/null 2>&1 &"]
    step = {"name": "late", "argv": argv, "done_when": ["test", "-e", str(done)], "timeout_s": 5}
    [result] = activate_all(wanted(instance("web/h1", units=[unit("web.service")], steps=[step])))
    assert not result.failure


def test_instance_that_became_unhealthy_is_a_difference(machine: Machine) -> None:
    """Incident: a changed health path changed no file of the application, and `up` went on to the load balancers."""
    up(wanted(web(machine)))
    sick = wanted(web(machine, healthy_when=[{"name": "health", "argv": ["false"], "timeout_s": 0.2}]))
    assert changes(sick) == [("health", "health", "await")]
    [result] = activate_all(sick)
    assert "health did not become healthy" in result.failure


def test_nothing_after_a_failed_instance_is_touched(machine: Machine) -> None:
    machine.set_systemd(broken={"web.service": machine.path("etc/web.conf")})
    other = instance("zzz/h1", files=[file(machine.path("etc/zzz.conf"), "x")])
    results = activate_all(wanted(web(machine), other))
    assert len(results) == 1
    assert not Path(machine.path("etc/zzz.conf")).exists()


def test_run_killed_between_file_and_reload_is_finished_by_the_next(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Incident that must not happen: the file is new, the daemon runs with the old one, and nobody ever notices."""
    up(wanted(web(machine)))
    machine.calls()
    new = wanted(web(machine, "two"))
    from nospof.onhost import activate as module

    def die(*_: object) -> None:
        raise SystemExit("kill -9")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_change_units", die)
        with pytest.raises(SystemExit):
            activate_all(new)
    assert Path(machine.path("etc/web.conf")).read_text() == "two"
    assert changes(new) == [("unit", "web.service", "reload")]
    up(new)
    assert machine.calls() == ["reload web.service"]
    assert changes(new) == []


def test_instance_that_is_gone_is_stopped_and_the_original_file_is_back(machine: Machine) -> None:
    config = Path(machine.path("etc/web.conf"))
    config.parent.mkdir(parents=True)
    config.write_text("from the package")
    up(wanted(web(machine)))
    machine.calls()
    nothing = wanted()
    assert changes(nothing) == [("unit", "web.service", "stop"), ("file", "web.conf", "remove")]
    up(nothing)
    assert machine.calls() == ["disable web.service"]
    assert config.read_text() == "from the package"
    assert changes(nothing) == []


def test_what_is_gone_is_stopped_in_the_reverse_order_of_its_start(machine: Machine) -> None:
    """Else a server would be stopped under the agent that starts it again."""
    units = [unit("a-server.service"), unit("b-agent.service")]
    up(wanted(instance("db/h1", units=units)))
    machine.calls()
    assert changes(wanted()) == [("unit", "b-agent.service", "stop"), ("unit", "a-server.service", "stop")]


def test_run_killed_before_settling_still_removes_what_is_gone(machine: Machine) -> None:
    activate_all(wanted(web(machine)))
    assert read_receipt() == Receipt()
    assert changes(wanted()) == [("unit", "web.service", "stop"), ("file", "web.conf", "remove")]


def test_seed_is_written_once_and_then_the_daemons_own(machine: Machine) -> None:
    path = Path(machine.path("var/role"))
    manifest = wanted(instance("db/h1", files=[file(str(path), "first", ownership="seed")]))
    up(manifest)
    path.write_text("changed by the daemon")
    assert changes(manifest) == []
    up(wanted())
    assert path.read_text() == "changed by the daemon"


def test_block_leaves_the_rest_of_the_file_alone(machine: Machine) -> None:
    path = Path(machine.path("etc/hosts"))
    path.parent.mkdir(parents=True)
    path.write_text("127.0.0.1 theirs\n")

    def block(text: str) -> Manifest:
        return wanted(instance("base/h1", files=[file(str(path), text, ownership="block")]))

    up(block("1.2.3.4 ours\n"))
    up(block("1.2.3.5 ours\n"))
    path.write_text(path.read_text() + "127.0.0.2 later\n")
    assert changes(block("1.2.3.5 ours\n")) == []
    text = path.read_text()
    assert text.startswith("127.0.0.1 theirs\n")
    assert "1.2.3.5 ours" in text
    assert "1.2.3.4" not in text
    up(wanted())
    assert path.read_text() == "127.0.0.1 theirs\n127.0.0.2 later\n"


def test_symlink_moves_and_comes_back_when_the_new_release_fails(machine: Machine) -> None:
    """Incident: the socket was restarted too, and who waited in its queue for the application got a 502."""
    link = machine.path("srv/current")

    def release(target: str, probe: str) -> Manifest:
        symlink = {"path": link, "target": target, "notify": {"app.service": "restart"}}
        health = {"name": "health", "argv": [probe], "timeout_s": 0.2}
        return wanted(instance("app/h1", symlinks=[symlink], units=units, healthy_when=[health]))

    units = [unit("app.socket"), unit("app.service")]
    up(release("/one", "true"))
    machine.calls()
    [result] = up(release("/two", "false"))
    assert result.is_restored
    assert Path(link).readlink() == Path("/one")
    assert machine.calls() == ["restart app.service", "reset-failed app.service", "restart app.service"]


def test_step_runs_until_it_is_done_and_not_again(machine: Machine) -> None:
    made = machine.path("made")
    step = {"name": "accounts", "argv": ["touch", made], "done_when": ["test", "-e", made], "timeout_s": 5}
    Path(machine.root).mkdir()
    manifest = wanted(instance("db/h1", steps=[step]))
    assert changes(manifest) == [("step", "accounts", "run")]
    up(manifest)
    assert changes(manifest) == []
    Path(made).unlink()
    assert changes(manifest) == [("step", "accounts", "run")]


def test_step_that_fails_says_what_it_said(machine: Machine) -> None:
    step = {"name": "accounts", "argv": ["sh", "-c", "echo no way >&2; exit 3"], "done_when": ["false"], "timeout_s": 5}
    [result] = activate_all(wanted(instance("db/h1", steps=[step])))
    assert result.failure == "step accounts failed"
    assert result.detail == "no way"


def test_step_that_hangs_ends_at_its_limit(machine: Machine) -> None:
    step = {"name": "accounts", "argv": ["sleep", "30"], "done_when": ["false"], "timeout_s": 0.1}
    [result] = activate_all(wanted(instance("db/h1", steps=[step])))
    assert "did not end within" in result.failure


def test_missing_package_is_a_difference(machine: Machine) -> None:
    assert changes(wanted(packages=("curl", "haproxy"))) == [("package", "haproxy", "install")]


def test_override_is_written_instead_of_the_text(machine: Machine) -> None:
    manifest = wanted(web(machine))
    path = machine.path("etc/web.conf")
    activate(manifest, ["web/h1"], {path: "open"}, read_receipt(), read_journal())
    assert Path(path).read_text() == "open"
    assert ("file", "web.conf", "change") in changes(manifest)


def test_diff_never_shows_a_file_that_not_everybody_may_read(machine: Machine) -> None:
    path = machine.path("etc/secret.env")

    def secret(text: str) -> Manifest:
        return wanted(instance("app/h1", files=[file(path, text, mode=0o600)]))

    up(secret("PASSWORD=one\n"))
    [difference] = [d for d in differences(secret("PASSWORD=two\n"), read_receipt(), read_journal()) if d.kind == "file"]
    assert difference.diff == ""


def test_diff_shows_what_changes_in_a_public_file(machine: Machine) -> None:
    up(wanted(web(machine, "a\nb\n")))
    found = differences(wanted(web(machine, "a\nc\n")), read_receipt(), read_journal())
    assert "-b" in found[0].diff
    assert "+c" in found[0].diff


def test_file_is_never_half_written(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    up(wanted(web(machine)))
    path = Path(machine.path("etc/web.conf"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            activate_all(wanted(web(machine, "two")))  # the journal comes first, and there is no room for it
    assert path.read_text() == "one"
    assert [entry.name for entry in path.parent.iterdir()] == ["web.conf"]


def test_releases_beyond_the_last_five_go_and_the_used_one_stays(machine: Machine) -> None:
    folder = Path(machine.path("srv/releases"))
    for number in range(9):
        (folder / f"app-{number}").mkdir(parents=True)
        os.utime(folder / f"app-{number}", (number, number))
    manifest = wanted(instance("app/h1", trees=[{"path": str(folder / "app-0"), "blob": "x"}]))
    settle(manifest, read_receipt(), Journal(), US)
    assert sorted(entry.name for entry in folder.iterdir()) == ["app-0", "app-4", "app-5", "app-6", "app-7", "app-8"]


def test_receipt_counts_generations(machine: Machine) -> None:
    up(wanted(web(machine)))
    assert (read_receipt().generation, read_receipt().stack_id, read_receipt().finished_by) == (1, "abcd", "me@here")
    up(wanted(web(machine, "two")))
    assert read_receipt().generation == 2


def test_stand_ins_are_what_is_called(machine: Machine) -> None:
    found = subprocess.run(["sh", "-c", "command -v systemctl"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(machine.programs / "systemctl")
