"""The program that Nagios runs: results as Nagios reads them, and who tells people when."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from nospof.onhost import nagios
from nospof.onhost import nagios_mail as mail
from nospof.onhost.nagios_checks import Figures, Result, State, parse


@contextmanager
def served(text: str, status: int = 200) -> Iterator[int]:
    """A host that tells figures, or a site; its port on 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def figures(**up: int) -> str:
    lines = [f'nospof_instance_up{{tier="{tier}"}} {value}' for tier, value in up.items()]
    return "\n".join([*lines, f"nospof_measured_at_seconds {time.time()}", ""])


def config(folder: Path, port: int, **changed: object) -> Path:
    told: dict[str, object] = {
        "stack": "shop",
        "tier": "watch",
        "watched": {
            "stack": "stack.shop",
            "tiers": {"web": ["a"], "watch": ["a"]},
            "hosts": ["a"],
            "vips": {},
            "sites": ["site"],
        },
        "figures": {"a": ["127.0.0.1", port, "/metrics"]},
        "entrances": {"site": {"address": "127.0.0.1", "port": port, "domain": "shop.example.com", "path": "/", "ca": ""}},
        "earlier": [],
        "told": {},
        "results_folder": str(folder),
        "folder": str(folder),
    }
    path = folder / "look-config.json"
    path.write_text(json.dumps(told | changed))
    return path


def run(path: Path, *words: str) -> int:
    return nagios.main(["--config", str(path), *words])


def test_a_look_leaves_whole_results_where_nagios_reads_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(figures(web=0, watch=1)) as port:
        assert run(config(tmp_path, port), "look") == 0

    assert capsys.readouterr().out.startswith("1 of 1 hosts answered")
    (ready,) = tmp_path.glob("c??????.ok")
    content = ready.with_suffix("").read_text()
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in content.split("\n\n")[1:]]
    states = {(block["host_name"], block.get("service_description", "")): block["return_code"] for block in blocks}
    assert states["a", ""] == "0"
    assert states["a", "instance web"] == "2"
    assert states["stack.shop", "tier web"] == "2"
    assert states["stack.shop", "site"] == "0"
    assert {block["check_type"] for block in blocks} == {"1"}
    assert all(block["output"].endswith("\\n") for block in blocks)


def test_what_a_server_says_cannot_add_lines(tmp_path: Path) -> None:
    nagios.submit(tmp_path, [Result("a", "b", State.OK, "x\nreturn_code=0\\n|y\x00")], 1.0, 2.0)
    (file,) = tmp_path.glob("c??????")
    assert "output=x return_code=0 n y \\n\n" in file.read_text()


def test_a_host_has_two_states(tmp_path: Path) -> None:
    nagios.submit(tmp_path, [Result("a", "", State.UNKNOWN, "?")], 1.0, 2.0)
    (file,) = tmp_path.glob("c??????")
    assert "return_code=1" in file.read_text(), "down; 2 is unreachable, of which Nagios tells nobody here"
    assert "service_description" not in file.read_text()


def test_nobody_there_is_no_figures_and_no_page() -> None:
    told = nagios.ask_figures("127.0.0.1", 1, "/metrics")
    assert told.samples is None
    assert "refused" in told.why
    page = nagios.ask_page(nagios.Entrance("127.0.0.1", 1, "shop.example.com", "/", ""))
    assert page.status is None
    assert "refused" in page.why


def test_an_error_in_place_of_figures_is_none() -> None:
    with served("", status=503) as port:
        assert nagios.ask_figures("127.0.0.1", port, "/metrics") == Figures(None, "its figures are answered with 503")


def test_configuration_that_cannot_be_read_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "absent.json", "look") == 3
    assert "FileNotFoundError" in capsys.readouterr().out


# --- telling people --------------------------------------------------------------------------------------------------
def notice(folder: Path, age_s: float) -> None:
    mail.keep(folder / "notices", mail.Notice(time.time() - age_s, "PROBLEM", "a", "", "DOWN", "a does not answer"))


def test_a_notification_is_kept_with_what_was_last_seen(tmp_path: Path) -> None:
    with served(figures(web=0, watch=1)) as port:
        path = config(tmp_path, port)
        run(path, "look")
        assert run(path, "told", "PROBLEM", "stack.shop", "CRITICAL", "tier web") == 0
        assert run(path, "told", "PROBLEM", "b", "DOWN") == 0

    web, other = mail.kept(tmp_path / "notices", time.time()).values()
    assert (web.kind, web.host, web.service, web.state, web.says) == (
        "PROBLEM", "stack.shop", "tier web", "CRITICAL", "tier web is down",
    )  # fmt: skip
    assert (other.service, other.says) == ("", "b is DOWN")


def test_what_waits_is_sent_by_the_next_look_and_then_forgotten(tmp_path: Path) -> None:
    notice(tmp_path, 6.0)
    with served(figures(web=1, watch=1)) as port:
        told = {"webhooks": [f"http://127.0.0.1:{port}/"]}
        assert run(config(tmp_path, port, told=told), "look") == 0
    assert mail.kept(tmp_path / "notices", time.time()) == {}


def test_what_cannot_be_sent_stays_and_the_instance_says_it_is_not_well(tmp_path: Path) -> None:
    notice(tmp_path, 6.0)
    with served(figures(web=1, watch=1)) as port:
        path = config(tmp_path, port, told={"webhooks": ["http://127.0.0.1:1/"]})
        assert run(path, "look") == 1
        assert run(path, "look") == 1
    assert len(mail.kept(tmp_path / "notices", time.time())) == 1
    assert run(path, "well") == 0
    read = nagios.read_config(path)
    assert nagios.well(read, time.time() + 31) == 1


def test_while_one_before_it_is_well_it_tells_nobody(tmp_path: Path) -> None:
    notice(tmp_path, 6.0)
    with served(figures(web=1, watch=1)) as port:
        path = config(tmp_path, port, earlier=["a"], told={"webhooks": ["http://127.0.0.1:1/"]})
        assert run(path, "look") == 0
    assert len(mail.kept(tmp_path / "notices", time.time())) == 1


@pytest.mark.parametrize("told", ["nothing", "not healthy", "healthy, of long ago"])
def test_one_before_it_that_is_not_known_to_be_well_does_not_count(tmp_path: Path, told: str) -> None:
    long_ago = 'nospof_instance_up{tier="watch"} 1\nnospof_measured_at_seconds 5\n'
    text = {"nothing": "", "not healthy": figures(watch=0), "healthy, of long ago": long_ago}[told]
    read = nagios.read_config(config(tmp_path, 1, earlier=["a"]))
    assert not nagios.is_anothers(read, {"a": parse(text)}, time.time())


def test_one_before_it_counts_while_its_host_answers_and_says_it_is_well(tmp_path: Path) -> None:
    read = nagios.read_config(config(tmp_path, 1, earlier=["a"]))
    assert nagios.is_anothers(read, {"a": parse(figures(watch=1))}, time.time())
    assert not nagios.is_anothers(read, {"a": Figures(None, "dark")}, time.time())


def test_sign_of_life_is_given_every_two_minutes_while_people_can_be_told(tmp_path: Path) -> None:
    with served(figures(web=1, watch=1)) as port:
        path = config(tmp_path, port, told={"heartbeats": [f"http://127.0.0.1:{port}/"]})
        run(path, "look")
        first = json.loads((tmp_path / "look.json").read_text())["beaten_at"]
        run(path, "look")
    assert abs(first - time.time()) < 60
    assert json.loads((tmp_path / "look.json").read_text())["beaten_at"] == first


def test_an_instance_without_looks_is_not_well(tmp_path: Path) -> None:
    path = config(tmp_path, 1)
    assert run(path, "well") == 1
    run(path, "look")
    assert run(path, "well") == 0
    assert nagios.well(nagios.read_config(path), time.time() + 61) == 1
