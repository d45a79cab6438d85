# ruff: noqa: T201 - what is printed is the result
"""What of a switchover's write pause is the clients' own way back: side by side with their sessions ended and nobody promoted.

As root: `PYTHONPATH=tests/shared .venv/bin/python tests/bench/switchover_floor.py [--rounds 15] [--clients 8]`.

In turn, under the load of `script/bench-database`: a switchover, by the user's command; all sessions to the database ended by
the router's HAProxy, which takes new ones at once, to the same primary; and the same, with new ones let in two at first and
twice as many each 10 ms. What the second costs no switchover can avoid: each client has to notice, to connect, to agree on TLS
keys and to log in. A gap is the longest time between two acknowledged writes of any client, the rest is how long it took until
half and all of the clients had a write acknowledged again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from failing_database import APPLICATION, PRODUCTS, FailingDatabase

from nospof.drills.workloads.sql_write import History, Kind, Load

STEADY_S, WATCHED_S = 2.0, 2.0
AT_ONCE, BY_AND_BY = "sessions ended", "sessions ended, new ones let in by and by"
CONFIG = "/etc/nospof/database-router.json"
END_SESSIONS = """\
import json, socket, sys, time
told = json.load(open(sys.argv[1]))
(tier,) = told["tiers"]
write = tier["write"]


def tell(*lines):
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(told["admin_socket"])
        admin.sendall(";".join(lines).encode() + b"\\n")
        if said := admin.makefile().read().strip():
            sys.exit(said)


def let_in(most):
    tell(*(f"set maxconn frontend {name} {min(most, limit)}" for name, limit in write["frontends"].items()))


ends = [f"shutdown sessions server {write['backend']}/{server['host']}" for server in tier["servers"]]
begun = time.monotonic()
if sys.argv[2] == "by and by":
    let_in(0)
    tell(*ends)
    for step in range(12):
        let_in(2 << step)
        time.sleep(max(0.0, begun + 0.01 * (step + 1) - time.monotonic()))
    let_in(1 << 30)
else:
    tell(*ends)
print(json.dumps(begun))
"""


@dataclass(frozen=True)
class Round:
    """Seconds: the longest without a write; from the event until half, and all, of the clients could write again."""

    gap_s: float
    half_s: float
    all_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--connect-every-ms", type=float, default=30.0)
    parser.add_argument("--read-every-ms", type=float, default=40.0)
    parser.add_argument("--component", choices=sorted(PRODUCTS), default="mariadb")
    options = parser.parse_args()
    found: dict[str, list[Round]] = {"switchover": [], AT_ONCE: [], BY_AND_BY: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        FailingDatabase.brought_up(Path(folder), PRODUCTS[options.component]) as database,
    ):
        events: dict[str, Callable[[], float]] = {
            "switchover": database.switchover,
            AT_ONCE: lambda: end_sessions(database, "at once"),
            BY_AND_BY: lambda: end_sessions(database, "by and by"),
        }
        for number in range(options.rounds):
            for what, happen in events.items():
                found[what].append(one_round(database, happen, f"floor_{number}", options))
                print(f"{number + 1} {what}: {found[what][-1]}", flush=True)
                database.healed()
    print("\n".join(table(found)))


def end_sessions(database: FailingDatabase, new_ones: str) -> float:
    """End the sessions to the database, by the router that all clients go through; returns when."""
    return float(json.loads(database.on(APPLICATION, "python3", "-c", END_SESSIONS, CONFIG, new_ones)))


def one_round(database: FailingDatabase, happen: Callable[[], float], table_name: str, options: argparse.Namespace) -> Round:
    loads = (
        Load(Kind.WRITE, table_name, clients=options.clients),
        Load(Kind.CONNECT, every_ms=options.connect_every_ms),
        Load(Kind.READ, every_ms=options.read_every_ms),
    )
    with ExitStack() as stack:
        writes, *_ = [stack.enter_context(database.under(load)) for load in loads]
        time.sleep(STEADY_S)
        at_s = happen()
        time.sleep(WATCHED_S)
        history = writes.finish()
    return read(history, at_s)


def read(history: History, at_s: float) -> Round:
    """Read a round. A client is back with the first write that it began after the event and that was acknowledged."""
    gap = history.longest_gap(at_s, at_s + WATCHED_S)
    began_s = gap.began
    back: dict[int, float] = {}
    for write in history.acknowledged:
        if write.invoked > began_s:
            back[write.client] = min(back.get(write.client, write.ended), write.ended)
    times = sorted(ended - began_s for ended in back.values())
    return Round(gap.length_s, times[(len(times) - 1) // 2], times[-1])


def table(found: dict[str, list[Round]]) -> Iterator[str]:
    yield "| what happens | rounds | longest without a write, p50 / max | half of the clients write again | all of them |"
    yield "|---|---|---|---|---|"
    for what, rounds in found.items():
        cells = [_of([one.gap_s for one in rounds]), _of([one.half_s for one in rounds]), _of([one.all_s for one in rounds])]
        yield f"| {what} | {len(rounds)} | " + " | ".join(cells) + " |"


def _of(values: list[float]) -> str:
    return f"{median(values):.2f} / {max(values):.2f} s"


if __name__ == "__main__":
    main()
