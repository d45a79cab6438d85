"""What is measured of a host, from files and programs like those that are there."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nospof.onhost import measures as m
from nospof.onhost.certificate_end import ends_at

INSTANCES: dict[str, dict[str, Any]] = {
    "web/one": {"units": ["nginx.service"], "probes": [["true"]]},
    "app/one": {"units": ["app.service", "app.socket"], "probes": [["true"], ["false"]]},
    "meter/one": {"units": ["meter.service"], "probes": [["false"]]},
}
RUN = dict.fromkeys(["nginx.service", "app.service", "app.socket", "meter.service"], True)


def up(figures: Iterable[m.Figure]) -> dict[str, bool]:
    return {dict(figure.labels)["tier"]: bool(figure.value) for figure in figures if figure.name == "nospof_instance_up"}


def test_instance_is_up_when_its_units_run_and_all_its_probes_say_yes() -> None:
    assert up(m.health(INSTANCES, RUN, ["meter/one"])) == {"web": True, "app": False, "meter": True}


def test_instance_whose_unit_does_not_run_is_not_up_whatever_its_probes_say() -> None:
    assert up(m.health(INSTANCES, {**RUN, "nginx.service": False}, ["meter/one"]))["web"] is False


def test_probe_that_hangs_is_a_no_and_is_ended() -> None:
    begun = time.monotonic()
    assert m.probed([("sleep", "60"), ("true",)], limit_s=0.2) == {("sleep", "60"): False, ("true",): True}
    assert time.monotonic() - begun < 5


def test_probe_that_does_not_exist_is_a_no() -> None:
    assert m.probed([("/there/is/no/such/program",)]) == {("/there/is/no/such/program",): False}


# --- what components tell themselves ------------------------------------------------------------------------------------
def printing(text: str, code: int = 0) -> list[str]:
    return ["sh", "-c", f"printf '%s' '{text}'; exit {code}"]


def test_figures_that_a_component_tells_have_its_tier_their_kind_and_their_meaning() -> None:
    told = '{"store_items": ["gauge", "Entries that it keeps.", 3], "store_gets_total": ["counter", "Questions.", 4.5]}'
    lines = m.text(m.own_figures({"store/one": printing(told)})).splitlines()
    assert lines == [
        "# HELP store_gets_total Questions.",
        "# TYPE store_gets_total counter",
        'store_gets_total{tier="store"} 4.5',
        "# HELP store_items Entries that it keeps.",
        "# TYPE store_items gauge",
        'store_items{tier="store"} 3',
    ]


@pytest.mark.parametrize(
    "argv",
    [
        printing('{"a": ["gauge", "A.", 1]}', code=1),
        printing('{"a": 1}'),
        printing('["a"]'),
        printing("no document"),
        printing('{"a": ["gauge", "A.", "many"]}'),
        ["/there/is/no/such/program"],
        ["sleep", "60"],
    ],
)
def test_what_is_no_figure_costs_that_component_its_figures_and_nobody_else(argv: list[str]) -> None:
    found = m.own_figures({"bad/one": argv, "good/one": printing('{"b": ["gauge", "B.", 1]}')}, limit_s=1.0)
    assert [figure.name for figure in found] == ["b"]


@pytest.mark.parametrize(("takes", "age_s", "expected"), [(True, 1.0, True), (False, 1.0, False), (True, 9.0, False)])
def test_server_takes_writes_while_its_note_says_so_and_holds(
    tmp_path: Path, takes: bool, age_s: float, expected: bool
) -> None:
    note = tmp_path / "note.json"
    note.write_text(json.dumps({"takes_writes": takes, "written_at": time.monotonic() - age_s, "valid_for_s": 5.0}))
    assert m.takes_writes(str(note)) is expected
    assert m.takes_writes(str(tmp_path / "absent.json")) is False


ROUTES = """\
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 198.18.0.0/15 2 0 2
        |-- 198.18.0.1
           /32 host LOCAL
        |-- 198.18.0.0
           /16 link UNICAST
        |-- 198.18.1.2
           /32 host LOCAL
        |-- 198.18.255.255
           /32 link BROADCAST
"""


def test_only_the_hosts_own_addresses_are_held() -> None:
    assert m.held_addresses(ROUTES) == {"198.18.0.1", "198.18.1.2"}


def test_kernel_tells_the_address_that_every_machine_has() -> None:
    assert "127.0.0.1" in m.held_addresses(m.ROUTES.read_text())


NOTE: dict[str, Any] = {
    "age_s": 0.1,
    "valid_for_s": 1.0,
    "role": "replica",
    "takes_writes": False,
    "fit_for_reads": True,
    "is_healthy": True,
    "term": 4,
    "details": {"is_voter": True, "is_witness": False, "lag_s": 0.3},
}


def of_database(**changed: Any) -> dict[str, float]:
    details = {**NOTE["details"], **changed.pop("details", {})}
    return {
        figure.name.removeprefix("nospof_database_"): figure.value
        for figure in m.database("db", {**NOTE, **changed, "details": details})
    }


def test_healthy_voter_is_fit_for_promotion() -> None:
    assert of_database() == {"takes_writes": 0, "fit_for_reads": 1, "fit_for_promotion": 1, "lag_seconds": 0.3, "term": 4}


@pytest.mark.parametrize(
    "changed",
    [
        {"role": "primary"},
        {"is_healthy": False},
        {"details": {"is_voter": False}},
        {"details": {"is_witness": True}},
        {"age_s": 2.0},
    ],
)
def test_who_is_no_healthy_voter_among_the_copies_is_not_fit_for_promotion(changed: dict[str, Any]) -> None:
    assert of_database(**changed)["fit_for_promotion"] == 0


def test_agent_that_says_nothing_any_more_is_fit_for_nothing() -> None:
    assert {figure.value for figure in m.database("db", None)} == {0}
    assert "lag_seconds" not in of_database(age_s=5.0)


def test_file_says_of_each_figure_what_it_means_once() -> None:
    figures = [m.Figure("nospof_vip_held", 1, (("name", 'a"b'),)), m.Figure("nospof_measured_at_seconds", 1795962237.5)]
    assert m.text(figures).splitlines() == [
        "# HELP nospof_measured_at_seconds When all of this was last looked at, in seconds since the epoch.",
        "# TYPE nospof_measured_at_seconds gauge",
        "nospof_measured_at_seconds 1795962237.5",
        "# HELP nospof_vip_held Whether this host holds the VIP.",
        "# TYPE nospof_vip_held gauge",
        'nospof_vip_held{name="a\\"b"} 1',
    ]


@pytest.mark.parametrize("end", ["2031-05-06T07:08:09Z", "2061-01-02T03:04:05Z"])
def test_end_of_a_certificate_is_read_from_its_file(tmp_path: Path, end: str) -> None:
    """Of both ways in which a certificate writes times: two digits of the year until 2049, four after that."""
    path = tmp_path / "a.crt"
    moment = datetime.datetime.fromisoformat(end)
    path.write_text("what goes before it\n" + certificate(moment))
    assert ends_at(path) == moment.timestamp()


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_has_no_end(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.crt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"."):
        ends_at(path)


def certificate(end: datetime.datetime) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1 << 100)
        .not_valid_before(datetime.datetime.fromisoformat("2020-01-01T00:00:00Z"))
        .not_valid_after(end)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_figures_are_written_while_it_runs_and_it_ends_when_told(tmp_path: Path) -> None:
    """As a program, on a host of which nothing is known."""
    config, file = tmp_path / "measures.json", tmp_path / "nospof.prom"
    config.write_text(
        f'{{"look_s": 15, "file": "{file}", "vips": {{"vip": "127.0.0.1", "other": "203.0.113.9"}}, '
        '"has_firewall": false, "agents": {}, "notes": {}, "figures": {}, "not_asked": []}'
    )
    argv = [sys.executable, "-c", "import sys; from nospof.onhost.measures import main; sys.exit(main(sys.argv[1:]))"]
    process = subprocess.Popen([*argv, "--config", str(config)])
    try:
        end = time.monotonic() + 20
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.02)
        lines = file.read_text().splitlines()
        assert 'nospof_vip_held{name="vip",address="127.0.0.1"} 1' in lines
        assert 'nospof_vip_held{name="other",address="203.0.113.9"} 0' in lines
        assert not [line for line in lines if "firewall" in line]
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()


def test_last_changes_of_the_primary_are_told_with_who_and_why() -> None:
    history = [
        {"term": number, "from": "db1", "to": "db2", "cause": "crashed", "loss": "none", "at": 1000.0 + number}
        for number in range(30, 1, -1)
    ] + [{"term": 1, "from": "", "to": "db1", "cause": "first", "loss": "none", "at": 1.0}]
    figures = list(m.told_by_agent("db", {"ok": True, "qps": 31.5, "history": history}))
    assert (figures[0].name, figures[0].value) == ("nospof_database_queries_per_second", 31.5)
    assert len(figures) == 1 + m.MOST_CHANGES
    assert figures[1] == m.Figure(
        "nospof_database_replaced_at_seconds",
        1030.0,
        (("tier", "db"), ("term", "30"), ("from", "db1"), ("to", "db2"), ("cause", "crashed"), ("loss", "none")),
    )


def test_agent_that_does_not_answer_tells_nothing_of_changes() -> None:
    assert list(m.told_by_agent("db", {"ok": False, "why": "the agent does not answer"})) == []


def test_new_role_or_address_is_noticed_between_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Incident: who takes writes stood in the figures up to 15 s after it had changed."""
    routes = tmp_path / "fib_trie"
    routes.write_text(ROUTES)
    monkeypatch.setattr(m, "ROUTES", routes)
    note = tmp_path / "note.json"
    config = m.Config(15.0, "", {"lb": "198.18.0.1"}, False, {"db/one": str(tmp_path / "agent.sock")}, {}, {}, [])
    measuring = m.Measuring(config)
    told = {"written_at": time.monotonic(), "role": "replica", "takes_writes": False, "term": 1}
    note.write_text(json.dumps(told))
    before = measuring._leads()
    note.write_text(json.dumps({**told, "written_at": time.monotonic()}))
    assert measuring._leads() == before, "a note that says the same again is no change"
    note.write_text(json.dumps({**told, "role": "primary", "takes_writes": True, "term": 2}))
    assert measuring._leads() != before
    before = measuring._leads()
    routes.write_text(ROUTES.replace("198.18.0.1\n", "198.18.0.9\n"))
    assert measuring._leads() != before


def test_what_is_not_well_is_looked_at_soon_again() -> None:
    """Incident: a probe that was slow once on a busy machine counted as lost until the next look, and people were told."""
    waits, wait_s = [], 15.0
    for has_changed, is_well in [(False, False), (False, False), (False, False), (True, True), (False, True)]:
        wait_s = m.next_look_s(wait_s, 15.0, has_changed=has_changed, is_well=is_well)
        waits.append(wait_s)
    assert waits == [2.0, 4.0, 8.0, 2.0, 15.0]
