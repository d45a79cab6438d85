# ruff: noqa: T201 - what is printed is the result
"""How long writes stop when the database loses or hands over its primary, and whether anything acknowledged is ever lost.

`script/bench-database --failovers 100 --switchovers 50 [--seed N] [--out FILE.jsonl] [--resume]`

Each round writes into a table of its own, breaks the primary after a pause drawn from the seed, waits until everything is
redundant again, and reads all nodes. Its line is in FILE before the next round begins; beside it, in FILE.d, are the histories.
The last round plants a loss, which must be found: a checker that never finds anything proves nothing.

Kinds: process kill (-9 of the server) and host dark (its power is taken) in turn; switchover (the user's command). A round that
does not heal ends the campaign, with what every host has to say in FILE.d.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from statistics import mean
from typing import Any

from failing_database import APPLICATION, PRODUCTS, Audit, FailingDatabase, Product

from nospof.drills.verdict import Result
from nospof.drills.workloads.http_get import Outcome
from nospof.drills.workloads.sql_write import History, Kind, Load, Running

STEADY_S = (1.0, 3.0)
# After the fault: writes that still come then come from who is primary now.
SURELY_AFTER_S = 0.1
WATCHED_S, SETTLE_S = 2.0, 1.0
STALLED_S = 0.1
LONGEST_ROUND_S = 400.0
CHECKS = ("lost", "phantom", "dual", "equal")


class Event(StrEnum):
    KILL = "process kill"
    DARK = "host dark"
    SWITCHOVER = "switchover"
    PLANTED = "planted loss"


# --- the plan --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Planned:
    number: int
    event: Event
    steady_s: float
    """Pause before the event, under load."""


def plan(failovers: int, switchovers: int, planted: int, seed: int) -> tuple[Planned, ...]:
    """Spread the switchovers among the failovers, with the planted losses last; the same seed gives the same plan."""
    chance = random.Random(seed)
    events = [Event.DARK if number % 2 else Event.KILL for number in range(failovers)]
    for number in range(switchovers):
        events.insert(round((number + 1) * failovers / (switchovers + 1)) + number, Event.SWITCHOVER)
    events += [Event.PLANTED] * planted
    return tuple(Planned(number, event, chance.uniform(*STEADY_S)) for number, event in enumerate(events, 1))


# --- a round ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Settings:
    clients: int
    connect_every_ms: float
    read_every_ms: float
    back_within_s: float


@dataclass(frozen=True)
class Round:
    """What one event did. Times in seconds; what was not measured is NaN."""

    number: int
    event: str
    began: str
    primary_before: str = ""
    primary_after: str = ""
    is_back: bool = False
    """Whether writes came back before anything was given power again."""
    gap_s: float = math.nan
    """Longest time between two acknowledged writes around the event."""
    client_gap_s: float = math.nan
    """The same for the client that was worst off."""
    later_gap_s: float = math.nan
    """The longest after writes had come back: while the lost host joined again."""
    acknowledged: int = 0
    failed: int = 0
    unknown: int = 0
    per_s: float = math.nan
    """Acknowledged writes per second before the event."""
    in_flight: int = 0
    in_flight_unknown: int = 0
    connects: int = 0
    connects_failed: int = 0
    connect_gap_s: float = math.nan
    reads: int = 0
    reads_failed: int = 0
    rejoin_s: float = math.nan
    """From the event, or from the power's return, to full redundancy."""
    most_late_s: float = math.nan
    changes: int = 0
    """Of the primary, as the stack counts its terms; 1 is assumed of a stack that does not."""
    causes: list[str] = field(default_factory=list)
    phases_ms: Mapping[str, float] = field(default_factory=dict)
    """Of the first of these changes."""
    verdicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    took_s: float = math.nan
    error: str = ""

    def is_as_expected(self) -> bool:
        """Whether all is well; of a planted loss, whether it was found."""
        if self.error:
            return False
        if self.event == Event.PLANTED:
            return bool(self.verdicts["lost"]["result"] == Result.FAIL)
        return all(self.verdicts[check]["result"] == Result.PASS for check in CHECKS)

    def __str__(self) -> str:
        if self.error:
            return f"{self.number} {self.event}: {self.error}"
        said = ", ".join(f"{check} {self.verdicts[check]['result']}" for check in CHECKS)
        back = "" if self.is_back else " (not before the host came back)"
        return (
            f"{self.number} {self.event}: {self.primary_before} → {self.primary_after}, gap {self.gap_s:.3f} s{back}, "
            f"{self.acknowledged} acknowledged ({self.per_s:.0f}/s), {self.in_flight} in flight, {self.unknown} unknown, "
            f"{self.connects_failed} of {self.connects} connections and {self.reads_failed} of {self.reads} reads failed, "
            f"redundant after {self.rejoin_s:.1f} s; {said}"
        )


class Campaign:
    """Rounds on one deployed stack."""

    def __init__(self, database: FailingDatabase, settings: Settings, folder: Path) -> None:
        self.database, self.settings, self.folder = database, settings, folder
        self.as_before: dict[str, int] = {}

    def round(self, planned: Planned) -> Round:
        """Run one round; what it met is in the result, whatever it was."""
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        start = time.monotonic()
        try:
            found = self._round(planned)
        except Exception as error:
            self._keep_testimony(planned)
            found = {"error": f"{type(error).__name__}: {error}"}
        return Round(planned.number, planned.event, began, **found, took_s=round(time.monotonic() - start, 1))

    def _round(self, planned: Planned) -> dict[str, Any]:
        database, table = self.database, f"drill_{planned.number}"
        before, told = database.primary(), database.told()
        with ExitStack() as stack:
            writes, connects, reads = (stack.enter_context(database.under(load)) for load in self._loads(table))
            time.sleep(planned.steady_s)
            cut = self._happen(planned.event, writes)
            back = time.monotonic()
            is_back = writes.is_good_after(back + SURELY_AFTER_S, self.settings.back_within_s)
            time.sleep(WATCHED_S if is_back else 0.0)
            watched, power = time.monotonic(), database.is_dark
            database.healed(is_quiet=False)
            redundant = time.monotonic()
            time.sleep(SETTLE_S)
            histories = [run.finish() for run in (writes, connects, reads)]
        database.healed()
        history, now = histories[0], database.told()
        changes, failovers = now.changes_since(told), now.failovers_since(told)
        audit = database.audit(history, table, self.as_before, changes)
        self._keep(planned, history, audit)
        began = watched if power else cut
        return {
            "primary_before": before,
            "primary_after": database.primary(),
            "is_back": is_back,
            "rejoin_s": redundant - began,
            "changes": changes,
            "causes": [f"{one['from']} → {one['to']}: {one['cause']}" for one in failovers],
            "phases_ms": dict(failovers[0].get("ms", {})) if failovers else {},
            "verdicts": {name: asdict(verdict) for name, verdict in audit.verdicts.items()},
            **figures(histories, cut, watched),
        }

    def _loads(self, table: str) -> Iterator[Load]:
        settings = self.settings
        yield Load(Kind.WRITE, table, clients=settings.clients, seconds=LONGEST_ROUND_S)
        yield Load(Kind.CONNECT, every_ms=settings.connect_every_ms, seconds=LONGEST_ROUND_S)
        yield Load(Kind.READ, every_ms=settings.read_every_ms, seconds=LONGEST_ROUND_S)

    def _happen(self, event: Event, writes: Running) -> float:
        database = self.database
        happen: Mapping[Event, Callable[[], float]] = {
            Event.KILL: database.kill_primary,
            Event.DARK: lambda: database.dark(database.primary()),
            Event.SWITCHOVER: database.switchover,
            Event.PLANTED: lambda: database.plant_loss(writes),
        }
        return happen[event]()

    def _keep(self, planned: Planned, history: History, audit: Audit) -> None:
        with gzip.open(self.folder / f"{planned.number}.jsonl.gz", "wt") as file:
            file.writelines(f"{line}\n" for line in history.lines())
        self.as_before = dict(audit.checksums) or self.as_before

    def _keep_testimony(self, planned: Planned) -> None:
        for host in (*self.database.nodes, APPLICATION):
            (self.folder / f"{planned.number}-{host}.log").write_text(self.database.testimony(host))


def figures(histories: Iterable[History], cut: float, watched: float) -> dict[str, Any]:
    """Read the histories of writes, connections and reads. `cut`: the event; `watched`: when healing began. Pure."""
    writes, connects, reads = histories
    first, gap = writes.writes[0].invoked, writes.longest_gap(cut, watched)
    # A microsecond more than the end of that gap, which is rounded.
    back = max(watched, gap.began + gap.length_s + 1e-6)
    return {
        "gap_s": gap.length_s,
        "client_gap_s": writes.longest_gap_of_a_client(cut, watched).length_s,
        "later_gap_s": writes.longest_gap(back).length_s,
        "acknowledged": len(writes.acknowledged),
        "failed": writes.count(Outcome.FAILED),
        "unknown": writes.count(Outcome.UNKNOWN),
        "per_s": writes.per_s(first, cut),
        "in_flight": len(writes.in_flight(cut).writes),
        "in_flight_unknown": writes.in_flight(cut).count(Outcome.UNKNOWN),
        "connects": len(connects.writes),
        "connects_failed": len(connects.bad),
        "connect_gap_s": connects.longest_gap(cut, watched).length_s,
        "reads": len(reads.writes),
        "reads_failed": len(reads.bad),
        "most_late_s": max(history.most_late_s for history in (writes, connects, reads)),
        "reasons": dict(writes.reasons().most_common(8)),
    }


# --- the table -------------------------------------------------------------------------------------------------------
HEAD = (
    "event", "rounds", "write gap p50", "p99", "max", "one client's max", "in flight, unknown",
    "failed connections p50 / max", "failed reads max", "redundant after p50 / max", "lost", "phantom", "dual", "unequal",
)  # fmt: skip


def table(rounds: Iterable[Round]) -> Iterator[str]:
    """The campaign as a table for docs/benchmarks.md."""
    found = [one for one in rounds if not one.error]
    yield "| " + " | ".join(HEAD) + " |"
    yield "|" + "---|" * len(HEAD)
    for event in Event:
        if of_event := [one for one in found if one.event == event]:
            yield "| " + " | ".join(_row(event, of_event)) + " |"


def _row(event: Event, rounds: list[Round]) -> Iterator[str]:
    gaps = [one.gap_s for one in rounds]
    yield from (event, str(len(rounds)), *(f"{at_share(gaps, share):.2f} s" for share in (0.5, 0.99, 1)))
    yield f"{max(one.client_gap_s for one in rounds):.2f} s"
    yield f"{sum(one.in_flight for one in rounds)}, {sum(one.in_flight_unknown for one in rounds)}"
    yield "{:g} / {:g}".format(*(at_share([one.connects_failed for one in rounds], share) for share in (0.5, 1)))
    yield f"{max(one.reads_failed for one in rounds)}"
    yield "{:.1f} s / {:.1f} s".format(*(at_share([one.rejoin_s for one in rounds], share) for share in (0.5, 1)))
    yield from (_counted([one.verdicts[check] for one in rounds]) for check in CHECKS)


def _counted(verdicts: list[Mapping[str, Any]]) -> str:
    unknown = sum(verdict["result"] == Result.UNKNOWN for verdict in verdicts)
    return f"{sum(verdict['count'] for verdict in verdicts)}" + (f", {unknown} × unknown" if unknown else "")


def remarks(rounds: list[Round]) -> Iterator[str]:
    """What the table does not say."""
    good = [one for one in rounds if not one.error]
    yield f"{len(rounds)} rounds, {sum(one.acknowledged for one in good)} acknowledged writes"
    yield f"{sum(one.most_late_s >= STALLED_S for one in good)} rounds in which the machine or the load stood still for 0.1 s"
    yield f"{sum(len(one.causes) > 1 for one in good)} rounds with more than one change of the primary"
    yield f"{sum(not one.is_back for one in good)} rounds in which writes came back only with the lost host"
    for name in sorted({name for one in good for name in one.phases_ms}):
        values = [one.phases_ms[name] for one in good if name in one.phases_ms]
        yield f"phase {name}: p50 {at_share(values, 0.5):.0f} ms, max {max(values):.0f} ms, {len(values)} rounds"
    yield from (f"NOT AS EXPECTED: {one}" for one in rounds if not one.is_as_expected())


def at_share(values: list[float] | list[int], share: float) -> float:
    """The value that `share` (0 to 1) of `values` do not exceed; 1 is the maximum."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


# --- the campaign ----------------------------------------------------------------------------------------------------
def read_rounds(path: Path) -> list[Round]:
    """Read what an earlier campaign left; a last line that was cut off does not count."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [Round(**json.loads(line)) for line in lines]


def main() -> int:
    options = parsed()
    folder = options.out.with_name(options.out.name + ".d")
    folder.mkdir(parents=True, exist_ok=True)
    if options.out.exists() and not options.resume:
        sys.exit(f"{options.out} is there: go on with --resume, or name another --out")
    done = [one for one in read_rounds(options.out) if not one.error]
    numbers = {one.number for one in done}
    everything = plan(options.failovers, options.switchovers, options.planted, options.seed)
    todo = [planned for planned in everything if planned.number not in numbers]
    if {one.number: one.event for one in done}.items() - {one.number: one.event for one in everything}.items():
        sys.exit(f"the rounds in {options.out} are of another plan: give the same numbers of events, or name another --out")
    print(f"seed {options.seed}, {len(todo)} rounds to do, {len(done)} done, lines in {options.out}", file=sys.stderr)
    settings = Settings(options.clients, options.connect_every_ms, options.read_every_ms, options.back_within_s)
    # Without a line that a killed campaign cut off, or a round that did not heal: it is done again.
    options.out.write_text("".join(line_of(one) for one in done))
    for one in campaign(todo, settings, folder, PRODUCTS[options.component]) if todo else ():
        done.append(one)
        with options.out.open("a") as file:
            file.write(line_of(one))
        left_s = mean(each.took_s for each in done) * (len(everything) - len(done))
        print(f"{one} · {left_s / 60:.0f} min left", file=sys.stderr, flush=True)
    print("\n".join(["", *table(done), "", *remarks(done)]))
    return 0 if all(one.is_as_expected() for one in done) and len(done) else 1


def campaign(todo: list[Planned], settings: Settings, folder: Path, product: Product) -> Iterator[Round]:
    """Run the rounds in a lab made for them, until one does not heal."""
    with (
        tempfile.TemporaryDirectory(prefix="nospof-bench-") as temporary,
        FailingDatabase.brought_up(Path(temporary), product) as database,
    ):
        found = Campaign(database, settings, folder)
        for planned in todo:
            one = found.round(planned)
            yield one
            if one.error:
                return


def line_of(one: Round) -> str:
    return json.dumps(asdict(one)) + "\n"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench-database", description="Fail the database over, again and again, under writes."
    )
    parser.add_argument("--failovers", type=int, default=10, help="half of them process kills, half dark hosts")
    parser.add_argument("--switchovers", type=int, default=5)
    parser.add_argument("--planted", type=int, default=1, help="losses that must be found")
    parser.add_argument("--component", choices=sorted(PRODUCTS), default="mariadb")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("database-rounds.jsonl"))
    parser.add_argument("--resume", action="store_true", help="go on where the rounds in OUT end, in a new lab")
    parser.add_argument("--clients", type=int, default=8, help="that write")
    parser.add_argument("--connect-every-ms", type=float, default=10.0)
    parser.add_argument("--read-every-ms", type=float, default=20.0)
    parser.add_argument("--back-within-s", type=float, default=20.0, help="a dark host stays dark for at most so long")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
