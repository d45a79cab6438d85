from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel

from nospof.stack.load import load
from nospof.stack.marks import PlacesOn, Rank
from nospof.stack.model import Stack, StackHost
from nospof.stack.problems import Severity, StackProblems, problem_at

Load = Callable[[str], Stack]


@pytest.fixture
def loaded(folder: Path, kinds: Mapping[str, type[BaseModel]]) -> Load:
    """Load a text as a stack file."""

    def load_text(text: str) -> Stack:
        file = folder / "stack.yaml"
        file.write_text(text, encoding="utf-8")
        return load(file, kinds)

    return load_text


def told(text: str, loaded: Load) -> str:
    """What is said of a stack file that is wrong."""
    with pytest.raises(StackProblems) as raised:
        loaded(text)
    return str(raised.value)


def test_example_of_the_design_loads(example: str, loaded: Load) -> None:
    stack = loaded(example)

    assert (stack.name, stack.domain, stack.vip, stack.egress, stack.has_firewall) == (
        "shop",
        "shop.example.com",
        (),
        None,
        True,
    )
    assert stack.hosts[0] == StackHost("lb1", "a")
    assert [tier.name for tier in stack.tiers] == ["load-balancer", "web", "app", "database"]
    assert stack.tiers[0].hosts == ("lb1", "lb2")
    assert stack.tiers[0].to == ("web",)
    assert stack.tiers[3].settings.model_dump()["witness"] == "w1"
    assert stack.warnings == ()


def test_same_file_gives_the_same_stack(example: str, loaded: Load) -> None:
    assert loaded(example) == loaded(example)


def test_one_name_is_a_list_of_one(example: str, loaded: Load) -> None:
    stack = loaded(example.replace("hosts: [lb1, lb2]", "hosts: lb1, spare: lb2"))

    assert (stack.tiers[0].hosts, stack.tiers[0].spare) == (("lb1",), ("lb2",))


def test_real_servers_have_addresses_and_ssh_settings(example: str, loaded: Load) -> None:
    text = example
    for number, host in enumerate(["lb1", "lb2", "web1", "web2", "db1", "db2", "w1"], 11):
        text = text.replace(f"{host}: {{", f"{host}: {{address: 203.0.113.{number}, ")
    text = text.replace("lb1: {", "lb1: {user: root, port: 2222, ") + "vip: 203.0.113.10/24\n"

    stack = loaded(text)

    assert stack.hosts[0] == StackHost("lb1", "a", "203.0.113.11", "root", 2222)
    assert stack.vip == ("203.0.113.10/24",)
    assert stack.warnings == ()


def test_networks_are_written_in_one_way(example: str, loaded: Load) -> None:
    stack = loaded(example + "admin: [198.51.100.7, 10.0.0.0/255.0.0.0]\negress: []\n")

    assert stack.admin == ("198.51.100.7/32", "10.0.0.0/8")
    assert stack.egress == ()


def test_firewall_is_switched_off_by_off(example: str, loaded: Load) -> None:
    assert not loaded(example + "firewall: off\n").has_firewall


def test_options_are_settings_of_their_component(example: str, loaded: Load) -> None:
    stack = loaded(example + "options: {nginx: {keepalive: 32}}\n")

    assert stack.options["nginx"].model_dump() == {"keepalive": 32}


def test_aliases_and_merges_stand_for_what_they_name(example: str, loaded: Load) -> None:
    text = example.replace("lb1: {zone: a}", "lb1: &left {zone: a}").replace("web1: {zone: a}", "web1: *left")
    text = text.replace("web2: {zone: b}", "web2: {<<: *left, zone: d}").replace("db1: {zone: a}", "db1: {<<: [*left]}")

    zones = {host.name: host.zone for host in loaded(text).hosts}

    assert zones == {"lb1": "a", "lb2": "b", "web1": "a", "web2": "d", "db1": "a", "db2": "b", "w1": "c"}


@pytest.mark.parametrize("zone", ["yes", "on", "2026-11-21", "1_000", "0b1", "12:30:45", "=", "'1'", "!!str 1"])
def test_only_yaml_1_2_decides_what_is_no_text(zone: str, example: str, loaded: Load) -> None:
    text = example.replace("lb1: {zone: a}", f"lb1: {{zone: {zone}}}")

    assert loaded(text).hosts[0].zone == zone.removeprefix("!!str ").strip("'")


@pytest.mark.parametrize("zone", ["1", "1.50", "true", "0x1F", "0o17", "007", "1e3", ".5"])
def test_number_for_text_is_shown_as_it_was_written(zone: str, example: str, loaded: Load) -> None:
    said = told(example.replace("lb1: {zone: a}", f"lb1: {{zone: {zone}}}"), loaded)

    assert f"hosts.lb1.zone: {zone}\n  expected text, found {zone}\n" in said
    assert f'put quotes around it: "{zone}"' in said


def test_hosts_that_no_tier_uses_are_warned_of(example: str, loaded: Load) -> None:
    stack = loaded(example.replace("  lb2: {zone: b}\n", "  lb2: {zone: b}\n  old: {zone: c}\n"))

    assert [(one.code, one.severity, one.path, one.line) for one in stack.warnings] == [
        ("S038", Severity.WARNING, "hosts.old", 6)
    ]


def test_page_that_is_not_in_its_folder_is_warned_of(folder: Path, loaded: Load) -> None:
    (folder / "docs").mkdir()
    (folder / "docs" / "manual.pdf").write_text("")
    text = "name: a\ndomain: a.example\nhosts: {h1: {zone: a}}\ntiers:\n  t: {component: static, hosts: h1, source: docs%s}\n"

    (warning,) = loaded(text % "").warnings
    assert (warning.code, warning.severity, warning.path, warning.line) == ("S047", Severity.WARNING, "tiers.t.page", 5)
    assert warning.what == '"docs" has no file "index.html"'
    assert "page: manual.pdf" in warning.fix
    assert not loaded(text % ", page: manual.pdf").warnings
    assert [one.code for one in loaded(text % ", page: manual.txt").warnings] == ["S047"]


def test_folder_that_cannot_be_looked_at_is_told_of_once(loaded: Load) -> None:
    text = "name: a\ndomain: a.example\nhosts: {h1: {zone: a}}\ntiers:\n  t: {component: static, hosts: h1, source: %s}\n"

    with pytest.raises(StackProblems) as raised:
        loaded(text % ("x" * 300))
    assert [one.code for one in raised.value.problems] == ["S039"]


def test_witness_uses_its_host(example: str, loaded: Load) -> None:
    stack = loaded(example.replace(", witness: w1", ""))

    assert [one.path for one in stack.warnings] == ["hosts.w1"]


def test_mark_inside_a_list_places_each_of_its_hosts(folder: Path, loaded: Load) -> None:
    class Etcd(BaseModel):
        voters: list[Annotated[str, PlacesOn(Rank.NORMAL)]]

    file = folder / "voters.yaml"
    file.write_text(
        "name: a\ndomain: a.example\nhosts: {h1: {zone: a}}\ntiers: {t: {component: etcd, hosts: h1, voters: [h1, h9]}}\n"
    )

    with pytest.raises(StackProblems) as raised:
        load(file, {"etcd": Etcd})

    assert [(one.code, one.path) for one in raised.value.problems] == [
        ("S035", "tiers.t.voters.0"),
        ("S032", "tiers.t.voters.1"),
    ]


def test_folder_whose_name_the_system_refuses_is_told(example: str, loaded: Load) -> None:
    said = told(example.replace("./app", "a" * 300), loaded)

    assert "error[S039]" in said
    assert "cannot be looked at: File name too long" in said


def test_what_only_pydantic_checks_is_told_with_the_value(folder: Path) -> None:
    class Etcd(BaseModel):
        since: date

    file = folder / "listen.yaml"
    file.write_text(
        "name: a\ndomain: a.example\nhosts: {h1: {zone: a}}\ntiers: {t: {component: etcd, hosts: h1, since: here}}\n"
    )

    with pytest.raises(StackProblems) as raised:
        load(file, {"etcd": Etcd})

    assert [(one.code, one.what) for one in raised.value.problems] == [
        ("S016", '"here" should be a valid date in the format YYYY-MM-DD, input is too short')
    ]


# --- problems that upper layers find -------------------------------------------------------------------------------------
def test_problem_is_written_as_the_design_says(kinds: Mapping[str, type[BaseModel]], tmp_path: Path) -> None:
    text = "name: shop\ndomain: shop.example.com\n\nhosts:\n  db1: {zone: a}\ntiers:\n  database:\n    component: mariadb\n"
    (tmp_path / "stack.yaml").write_text(text + "    hosts: [db1]\n")
    stack = load(tmp_path / "stack.yaml", kinds)

    problem = problem_at(
        stack,
        "S012",
        "tiers.database.hosts",
        'mode "primary-replica" needs two hosts that can be primary',
        "when db1 stops, every write fails until a person acts",
        "add a host in another zone, e.g. hosts: [db1, db2]",
    )

    assert str(problem) == (
        f"error[S012] {tmp_path}/stack.yaml:9:5  tiers.database.hosts: [db1]\n"
        '  mode "primary-replica" needs two hosts that can be primary\n'
        "  why: when db1 stops, every write fails until a person acts\n"
        "  fix: add a host in another zone, e.g. hosts: [db1, db2]"
    )


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("tiers.web", (13, 3)),
        ("tiers.web.hosts", (13, 32)),
        ("tiers.web.hosts.1", (13, 46)),
        ("tiers.web.hosts.7", (13, 32)),
        ("tiers.web.mode.deep", (13, 3)),
        ("nowhere", (1, 1)),
    ],
)
def test_problem_stands_at_its_path_or_the_nearest_parent(
    path: str, place: tuple[int, int], example: str, loaded: Load
) -> None:
    problem = problem_at(loaded(example), "F001", path, "what", severity=Severity.NOTE)

    assert (problem.line, problem.column) == place
    assert str(problem).startswith("note[F001] ")


def test_nothing_from_the_file_steers_the_terminal(example: str, loaded: Load) -> None:
    stack = loaded(example)

    problem = problem_at(stack, "F001", "tiers.web", "a\x1b[2Jb")

    assert "\x1b" not in str(problem)


def test_many_problems_are_cut_but_counted(loaded: Load) -> None:
    said = told("name: shop\n" + "".join(f"k{number}: 1\n" for number in range(100)), loaded)

    assert said.count("error[") == 50
    assert said.endswith("… and 53 more.\n\n103 errors; nothing was touched.")


# --- the file itself -----------------------------------------------------------------------------------------------------
def test_missing_file_says_what_to_name(kinds: Mapping[str, type[BaseModel]], tmp_path: Path) -> None:
    with pytest.raises(StackProblems) as raised:
        load(tmp_path / "stack.yaml", kinds)

    assert str(raised.value) == (
        f"error[S001] {tmp_path}/stack.yaml\n"
        "  there is no such file\n"
        "  fix: go to the folder of your stack, or name the file, e.g.: nospof check examples/simple/stack.yaml\n\n"
        "1 error; nothing was touched."
    )


def test_folder_says_which_file_to_name(kinds: Mapping[str, type[BaseModel]], tmp_path: Path) -> None:
    with pytest.raises(StackProblems, match=r"S001.*\n  this is a folder, not a file") as raised:
        load(tmp_path, kinds)

    assert f"name the file in it, e.g. {tmp_path}/stack.yaml" in str(raised.value)


def test_file_below_a_file_says_what_the_system_says(kinds: Mapping[str, type[BaseModel]], tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StackProblems, match=r"S001.*\n.*cannot be read: Not a directory"):
        load(tmp_path / "file" / "stack.yaml", kinds)


def test_large_file_is_not_read(loaded: Load) -> None:
    assert "error[S002]" in told("#" * (1024 * 1024 + 1), loaded)
    assert "error[S006]" in told("#" * (1024 * 1024), loaded)


def test_byte_order_mark_and_windows_line_ends_are_fine(example: str, loaded: Load) -> None:
    assert loaded("\ufeff" + example.replace("\n", "\r\n")).name == "shop"


def test_deep_nesting_is_an_error_and_no_crash(loaded: Load) -> None:
    for text in ("a: " + "[" * 1000, "a: " + "[" * 40 + "]" * 40):
        said = told(text, loaded)
        assert "error[S005]" in said
        assert "nested" in said
