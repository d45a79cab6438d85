# ruff: noqa: T201 - what is printed is the result
"""Whom a release fails: nobody, should be the answer, while 100 pages are asked for and 20 entries written each second.

As root: `PYTHONPATH=tests/shared .venv/bin/python tests/bench/rolling_release.py [ROUNDS]`. Some two minutes a round, in a
lab that is made for it and removed. In each round the application is changed and rolled out, rolled back, and changed to what
does not start, and to what answers that it is ill. Prints a row per change; exit code 1 when a visitor was failed.
"""

from __future__ import annotations

import re
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from live_site import LiveSite

from nospof.drills.ground import Ground
from nospof.drills.visitors import Rates, load

RATES = Rates(reads=100.0, writes=20.0, connections=20)
BUSY_MS, BUSY_ANSWER_MS = 1500, 3000
BEFORE_S, AFTER_S, LONGEST_S = 3.0, 3.0, 300.0


def released(site: LiveSite, number: int) -> None:
    add(site, f"# release {number}")
    site.nospof("up")


def spoilt(site: LiveSite, line: str) -> None:
    """Roll out what must be refused, and put the folder back."""
    file = site.folder / "app/shop.py"
    kept = file.read_text()
    add(site, line)
    site.nospof("up", code=1)
    file.write_text(kept)
    site.nospof("up")


def add(site: LiveSite, line: str) -> None:
    with (site.folder / "app/shop.py").open("a") as file:
        file.write(f"{line}\n")


ILL = """
from flask import request
app.before_request(lambda: ("ill", 503) if request.path == "/health" else None)"""

CHANGES: tuple[tuple[str, Callable[[LiveSite, int], object]], ...] = (
    ("a release", released),
    ("rolled back, and out again", lambda site, _: (site.nospof("rollback", "app"), site.nospof("up"))),
    ("one that does not start", lambda site, _: spoilt(site, 'raise RuntimeError("planted")')),
    ("one whose health is bad", lambda site, _: spoilt(site, ILL)),
)


@contextmanager
def brought_up() -> Iterator[LiveSite]:
    with tempfile.TemporaryDirectory(prefix="nospof-rolling-") as folder:
        site = LiveSite(Path(folder) / "stack", f"fail-{secrets.token_hex(3)}")
        # Eight hosts share one machine's processors with those who ask: handshakes and checks may take longer than on servers.
        site.set_options("load-balancer", connect_ms=BUSY_MS, check_answer_ms=BUSY_ANSWER_MS)
        try:
            site.nospof("up")
            yield site
        finally:
            site.down()


def main(rounds: int) -> int:
    failed = 0
    print("| change | took | asked | bad | not read back | p50 / p99 / max |\n|---|---|---|---|---|---|")
    with brought_up() as site:
        for number in range(1, rounds + 1):
            for name, change in CHANGES:
                row, bad = seen(site, lambda change=change, number=number: change(site, number))  # type: ignore[misc]
                failed += bad
                print(f"| {name} | {row} |", flush=True)
    return 1 if failed else 0


def seen(site: LiveSite, change: Callable[[], object]) -> tuple[str, int]:
    """What visitors saw of a change, and how many were failed."""
    site.settled_status(120)
    ground = Ground(site.deployment())
    folder = site.folder / "seen" / secrets.token_hex(3)
    folder.mkdir(parents=True)
    # Visitors only: clients that write as fast as they can would be all that the machine has time for.
    with load(ground, folder, f"rolling-{secrets.token_hex(3)}-", LONGEST_S, RATES, spared=()) as running:
        time.sleep(BEFORE_S)
        began = time.monotonic()
        change()
        took_s = time.monotonic() - began
        time.sleep(AFTER_S)
        visits, _, _ = running.finish()
    requests = [request for one in visits for request in one.history.requests]
    bad = [request for request in requests if not request.is_good]
    unread = [request for request in requests if request.is_good and request.read_back not in (None, 200)]
    for request in bad[:5]:
        at_s = request.intended - began
        print(f"  bad: {request.outcome.value} {request.why} of {request.token or 'a page'}, {at_s:.2f} s in", file=sys.stderr)
    if bad:
        said = site.nospof("logs", "load-balancer", "--lines=20000", "--since=2m").splitlines()
        print(*[line for line in said if re.search(" 50[0-9] [0-9]+ ", line)][-20:], sep="\n", file=sys.stderr)
    good = [request.latency_s for request in requests if request.is_good]
    cuts = quantiles(good, n=100)
    figures = f"{1000 * cuts[49]:.0f} / {1000 * cuts[98]:.0f} / {1000 * max(good):.0f} ms"
    return f"{took_s:.0f} s | {len(requests)} | {len(bad)} | {len(unread)} | {figures}", len(bad) + len(unread)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
