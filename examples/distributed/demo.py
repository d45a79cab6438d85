"""The stack in this folder brought up, and its busiest part taken away from under its visitors.

Started by script/demo. What it leaves is the running stack; interrupted at any moment, `nospof up` goes on and `nospof
down` removes everything.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from nospof.cli.screen import Lines, console
from nospof.deployment import Deployment
from nospof.drills.workloads import http_get
from nospof.drills.workloads.http_get import History, Load
from nospof.errors import Failed, NospofError

HERE = Path(os.path.relpath(Path(__file__).parent))
NOSPOF = os.path.relpath(Path(sys.executable).with_name("nospof"))
RATE, CONNECTIONS, BEFORE_S, AFTER_S = 100, 20, 2.0, 5.0
COLUMN_S, COLUMNS_BEFORE, COLUMNS_AFTER = 0.05, 16, 48
MOVE_LIMIT_S = 20.0


def main() -> int:
    try:
        return demo(Deployment.load(HERE / "stack.yaml"))
    except NospofError as error:
        console.print(Text(f"\n{error}", style="red"))
        code = error.exit_code
    except KeyboardInterrupt:
        console.print("\ninterrupted")
        code = 130
    console.print(f"\nto go on: script/demo · to remove what is there: {NOSPOF} down {HERE}")
    return code


def demo(site: Deployment) -> int:
    heading(f"1  {len(site.topology.hosts)} Debian hosts, as {HERE}/stack.yaml says")
    with Lines() as progress:
        if not site.up(progress):
            progress.phase("all there already")
        answer = site.ask_entrance()
        progress.phase(f"the site answers over HTTPS: {answer.status} after {answer.took_s * 1000:.0f} ms")
    heading("2  An entry in the guestbook, by HTTPS through the VIP")
    write_entry(site)
    holder = holder_of_address(site)
    heading(f"3  {RATE} requests a second, and the power of {holder} is cut: it holds the VIP")
    history, cut = lose(site, holder)
    show(history, cut, holder, holder_of_address(site))
    with console.status(f"{holder} gets its power back"):
        site.lab.power_on(holder)
    heading("4  Yours")
    tell_more(site)
    return 0


def heading(text: str) -> None:
    console.print(Text(f"\n{text}", style="bold cyan"))


def write_entry(site: Deployment) -> None:
    entry = {"name": "demo", "message": "Nobody is indispensable.", "token": secrets.token_urlsafe(9)}
    request = ["-H", "Content-Type: application/json", "-d", json.dumps(entry), f"{site.url}api/entries"]
    # Not every curl knows that *.localhost is this machine.
    here = ["--resolve", f"{site.stack.name}.localhost:{site.lab.url_port}:127.0.0.1"]
    argv = ["curl", "--silent", "--show-error", "--max-time", "10", "--cacert", str(site.ca_file), *here, *request]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    try:
        answer = json.loads(done.stdout)
        stored = f"entry {answer['id']} is acknowledged by {answer['database']['name']}, the {answer['database']['role']}"
    except (ValueError, KeyError, TypeError):
        raise Failed("the entry was not written", detail=done.stdout + done.stderr) from None
    console.print(f"   POST {site.url}api/entries")
    console.print(f"   {stored}")


def holder_of_address(site: Deployment) -> str:
    """The host that holds the VIP. Raises Failed when it is not exactly one for a while."""
    end = time.monotonic() + MOVE_LIMIT_S
    while time.monotonic() < end:
        [holders, *_] = site.status().holders.values()
        if len(holders) == 1:
            return holders[0]
        time.sleep(0.1)
    raise Failed("the VIP has not exactly one holder", fix=f"{NOSPOF} status {HERE}")


def lose(site: Deployment, host: str) -> tuple[History, float]:
    """Cut the power of `host` while requests come; all of them, and the moment of the cut."""
    visitors = Load(site.entrance_addresses, site.stack.domain, site.ca_file, rate=RATE, timeout_s=5.0)
    load = replace(visitors, connections=CONNECTIONS, sends_again=True)  # as browsers do
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "requests"
        with http_get.running(load, output, lambda argv: site.lab.network_argv("client", argv)) as running:
            with console.status("requests come"):
                time.sleep(BEFORE_S)
            cut = site.lab.power_off(host)
            with console.status(f"{host} is dark, requests come"):
                time.sleep(AFTER_S)
            with console.status("the last answers"):
                return running.finish(), cut


def show(history: History, cut: float, lost: str, holder: str) -> None:
    after = history.between(cut)
    gap_s = history.longest_gap(cut).length_s
    console.print(timeline(history, cut))
    console.print(Text(f"   {COLUMN_S * 1000:.0f} ms each: █ answered  · silence  ▲ {lost} without power\n", style="dim"))
    under_way = history.in_flight(cut)
    sentence = (
        f"   {lost} lost its power under {RATE} requests a second: of {len(after.requests)} begun after that "
        f"{len(after.bad)} failed, of {len(under_way.requests)} under way {len(under_way.bad)};\n"
        f"   the longest time between two answers was {gap_s:.2f} s, and {holder} holds the VIP now."
    )
    console.print(Text(sentence, style="bold"))
    failed_before = [request for request in history.bad if request.ended < cut]
    if failed_before:
        said = f"{len(failed_before)} failed before anything was cut: this machine is too busy for these figures to mean much"
        console.print(Text(f"   {said}", style="yellow"))


def timeline(history: History, cut: float) -> Text:
    """A column for each moment: full when a request was answered in it, and a mark under the cut."""
    answers = [request.ended for request in history.requests if request.is_good]
    begin = cut - COLUMNS_BEFORE * COLUMN_S
    columns = [begin + column * COLUMN_S for column in range(COLUMNS_BEFORE + COLUMNS_AFTER)]
    line = Text("   ")
    for start in columns:
        is_answered = any(start <= answered < start + COLUMN_S for answered in answers)
        line.append("█" if is_answered else "·", style="green" if is_answered else "red")
    return line.append(f"\n   {' ' * COLUMNS_BEFORE}▲")


def tell_more(site: Deployment) -> None:
    rows = (
        ("open", site.url),
        ("trust", f"import {os.path.relpath(site.ca_file)} into the browser, or curl --cacert it"),
        ("look", f"{NOSPOF} status {HERE}"),
        ("", f"{NOSPOF} diagram {HERE}"),
        ("", f"{NOSPOF} shell {HERE} lb1"),
        ("break", f"{NOSPOF} lab off {HERE} web1, and again: lab on"),
        ("remove", f"{NOSPOF} down {HERE}"),
    )
    for word, what in rows:
        console.print(Text.assemble("   ", (f"{word:<8}", "bold"), what))


if __name__ == "__main__":
    sys.exit(main())
