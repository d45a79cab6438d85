"""A proof with every conclusion and every agreement in it, as a run on the example would give it; and one that is all good.

Run as a program it writes both as pages, to be looked at: python tests/shared/sample_proof.py FOLDER
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from nospof.drills.junit import junit
from nospof.drills.report import drill_report, report
from nospof.drills.result import (
    Agreement,
    Bin,
    Check,
    Combination,
    DrillResult,
    GoalAvailability,
    GoalSeen,
    Measured,
    Moment,
    Proof,
    Served,
    Taken,
)
from nospof.drills.words import line, summary

BEGAN = 1_790_000_000.0
HOSTS = ("db1", "db2", "lb1", "lb2", "w1", "web1", "web2")
ZONES = ("a", "b", "c")
PROCESSES = ("app/web1", "app/web2", "database/db1", "database/db2", "load-balancer/lb1", "web/web1")
STEADY, HOLD, END = 2.0, 13.0, 19.4
SAYS = {
    "host-off": "The host loses its power: no answer, not even a refusal, and what was not yet synced to its disk is gone.",
    "zone-off": "All hosts of the zone lose their power at once.",
    "process-stop": "All processes of the instance are killed, and nothing can start them until it is healed.",
}
WHY = {"write": ("writes fail", "no server is left that can be primary", "host db1 is lost", "host db2 is lost")}


def good_proof() -> Proof:
    """Everything is as foretold and nothing is lost."""
    drills = tuple(drill(number, name) for number, name in enumerate(_names(), 1))
    return _proof(drills, tuple(_combinations(drills)))


def mixed_proof() -> Proof:
    """All conclusions, all agreements, unproven and wrong combinations, lost writes."""
    drills = [drill(number, name) for number, name in enumerate(_names(), 1)]
    write = drills[2].goals[1]
    drills[1] = drills[1].model_copy(
        update={"goals": (_goal("serve", 3.1, Agreement.TIMING_OFF, limit=1.4), drills[1].goals[1])}
    )
    drills[3] = drills[3].model_copy(update={"checks": _checks(lost=("token drill-1f2e-412", "token drill-1f2e-413"))})
    optimistic = _goal("write", HOLD, Agreement.OPTIMISTIC, down=True, predicted="up")
    drills[5] = drills[5].model_copy(update={"goals": (drills[5].goals[0], optimistic)})
    pessimistic = _goal("write", 0.3, Agreement.PESSIMISTIC, predicted="down")
    drills[6] = drills[6].model_copy(update={"goals": (drills[6].goals[0], pessimistic)})
    unseen = {"seen": "unknown", "agreement": Agreement.UNKNOWN, "outage_s": None, "bins": (), "note": NOBODY}
    drills[8] = drills[8].model_copy(update={"goals": (drills[8].goals[0], write.model_copy(update=unseen))})
    drills[9] = drills[9].model_copy(update={"goals": (), "invalid": "zone-off c was not seen to be in force: w1 answers"})
    stuck = "process-stop app/web1 is not healed: gunicorn.service is masked"
    drills[10] = drills[10].model_copy(update={"not_healed": stuck, "healed_s": None, "redundant_s": None, "tries": 2})
    unread = (*_checks()[:2], _check("lost writes", "unknown", "db2 could not be read"))
    drills[11] = drills[11].model_copy(update={"checks": unread})
    return _proof(tuple(drills), tuple(_combinations(drills, is_cut_short=True)), lost=2)


NOBODY = "nobody asked: no application of the stack says how to try a write (trial_write)"


# --- drills ----------------------------------------------------------------------------------------------------------
def drill(number: int, name: str) -> DrillResult:
    """One that passed; what names both databases takes writes away, as foretold."""
    losses = [part.split(" ") for part in name.split(" + ")]
    is_down = {"db1", "db2"} <= {target for _, target in losses}
    moved = "db1" in name and not is_down
    gap = HOLD if is_down else 1.21 if moved else 0.02
    return DrillResult(
        number=number,
        name=name,
        faults=tuple({"fault": fault, "target": target, "at_s": 3.0 * place} for place, (fault, target) in enumerate(losses)),
        says=tuple(SAYS[fault] for fault, _ in losses),
        begun_at=BEGAN + 40 * number,
        fault_s=STEADY,
        held_s=STEADY + 0.05,
        healing_s=STEADY + HOLD,
        healed_s=STEADY + HOLD + 1.1,
        redundant_s=END - 1,
        ended_s=END,
        goals=(
            _goal("serve", 0.42 if "lb1" in name else 0.02, Agreement.AGREES),
            _goal("write", gap, Agreement.AGREES, down=is_down),
        ),
        checks=_checks(),
        moments=tuple(_moments(name, moved=moved)),
        served=tuple(_served(name, moved=moved)),
        taken=(_taken(),) if moved else (),
        most_late_s=0.004,
        evidence={"serve-app.jsonl": "5f" * 32, "write-app.jsonl": "a0" * 32},
    )


def _names() -> list[str]:
    return [
        *(f"host-off {host}" for host in HOSTS),
        *(f"zone-off {zone}" for zone in ZONES),
        *(f"process-stop {name}" for name in PROCESSES),
        "host-off db1 + host-off w1",
        "host-off w1 + host-off db1",
        "host-off db1 + host-off db2",
        "host-off lb1 + host-off web1",
    ]


def _goal(
    name: str, gap: float, agreement: Agreement, *, down: bool = False, predicted: str = "", limit: float = 4.0
) -> GoalSeen:
    foretold = predicted or ("down" if down else "up")
    bins = tuple(_bins(gap, slow=0.004 if name == "serve" else 0.011))
    asked = sum(one.good + one.bad for one in bins if STEADY <= one.at_s < STEADY + HOLD)
    bad = sum(one.bad for one in bins)
    return GoalSeen(
        goal=name,
        predicted=foretold,
        predicted_outage_s=limit if foretold == "up" else None,
        why=WHY.get(name, ()) if foretold == "down" else (),
        seen="down" if down else "up",
        outage_s=gap,
        outage_error_s=0.02,
        asked=asked,
        bad=bad,
        reasons={"no answer within 5 s": bad - bad // 4, "connection reset": bad // 4} if bad > 3 else {},
        p50_s=None if down else 0.0042,
        p99_s=None if down else 0.0631,
        agreement=agreement,
        bins=bins,
    )


def _bins(gap: float, slow: float) -> Iterator[Bin]:
    chance = random.Random(f"{gap} {slow}")
    for place in range(int(END / 0.2)):
        at_s = round(place * 0.2, 1)
        away_s = max(0.0, min(at_s + 0.2, STEADY + gap) - max(at_s, STEADY))
        bad = round(10 * away_s / 0.2) if gap > 0.05 else 0
        slowest = slow * chance.uniform(0.8, 2.5) * (8 if STEADY + gap <= at_s < STEADY + gap + 0.4 else 1)
        yield Bin(at_s=at_s, good=10 - min(10, bad), bad=min(10, bad), slowest_s=round(slowest, 4) if bad < 10 else 0.0)


def _checks(lost: tuple[str, ...] = ()) -> tuple[Check, ...]:
    said = (
        f"{len(lost)} of 642 acknowledged writes are missing on db2" if lost else "642 acknowledged writes are on both copies"
    )
    return (
        _check("copies equal", "pass", "both copies hold 1 284 rows"),
        _check("leftovers", "pass", "7 hosts are as they were"),
        _check("lost writes", "fail" if lost else "pass", said, lost),
        _check("one primary", "pass", "no two servers acknowledged at the same time"),
        _check("redundant again", "pass", "all was as before 2.3 s after healing"),
    )


ABOUT = {
    "copies equal": "Once all is healed, all copies hold the same.",
    "leftovers": "Nothing of the fault is left on any host.",
    "lost writes": "Every write that was acknowledged is on every copy once all is healed.",
    "one primary": "Never do two servers acknowledge writes at the same time.",
    "redundant again": "Once the fault is healed all instances, copies and voters are back without help.",
}


def _check(name: str, result: str, reason: str, examples: tuple[str, ...] = ()) -> Check:
    return Check(name=name, about=ABOUT[name], result=result, reason=reason, count=len(examples), examples=examples)


def _moments(name: str, *, moved: bool) -> Iterator[Moment]:
    yield Moment(at_s=STEADY + 0.04, kind="fault", what=f"{name}: its machine is gone")
    if moved:
        yield Moment(at_s=STEADY + 1.2, kind="role", what="db2 is primary of database instead of db1")
    yield Moment(at_s=STEADY + HOLD + 1.1, kind="heal", what=f"{name} is healed")
    yield Moment(at_s=END - 1, kind="heal", what="all is as it was before")


def _served(name: str, *, moved: bool) -> Iterator[Served]:
    for tier, first, second in (("app", "web1", "web2"), ("load-balancer", "lb1", "lb2")):
        for server in (first, second):
            if tier == "load-balancer" and server == second:
                if first in name:
                    yield Served(tier=tier, server=server, from_s=STEADY + 0.4, to_s=END)
                continue
            yield Served(tier=tier, server=server, from_s=0.0, to_s=STEADY if server in name else END)
            if server in name and tier == "app":
                yield Served(tier=tier, server=server, from_s=STEADY + HOLD + 1, to_s=END)


def _taken() -> Taken:
    why = "db1 did not renew its lease, and all voters that are left have told what they hold"
    return Taken(
        tier="database", origin="db1", to="db2", cause="lost", why=why, ms={"voted": 212, "promoted": 31, "writable": 9}
    )


# --- the whole -------------------------------------------------------------------------------------------------------
def _combinations(drills: list[DrillResult] | tuple[DrillResult, ...], *, is_cut_short: bool = False) -> Iterator[Combination]:
    numbers = {drill.name: drill.number for drill in drills}
    kinds = {"host": "host-off", "zone": "zone-off", "process": "process-stop"}
    targets = {"host": HOSTS, "zone": ZONES, "process": PROCESSES}
    for kind, target in ((kind, target) for kind, names in targets.items() for target in names):
        number = numbers[f"{kinds[kind]} {target}"]
        yield _combination((f"{kind} {target}",), drills[number - 1], "drilled", (number,))
    for first, second in combinations(HOSTS, 2):
        parts = (f"host {first}", f"host {second}")
        both = numbers.get(f"host-off {first} + host-off {second}")
        if both:
            yield _combination(parts, drills[both - 1], "drilled", (both,))
        elif is_cut_short and "w1" in parts[1]:
            yield Combination(parts=parts, predicted=UP, seen=NOT_SEEN, settled="unproven", why="there was no time left")
        else:
            yield Combination(parts=parts, predicted=UP, seen=UP, settled="implied", by=(8, 9))


UP, NOT_SEEN = {"serve": "up", "write": "up"}, {"serve": "unknown", "write": "unknown"}


def _combination(parts: tuple[str, ...], drill: DrillResult, settled: str, by: tuple[int, ...]) -> Combination:
    if drill.invalid or drill.not_healed:
        return Combination(parts=parts, predicted=UP, seen=NOT_SEEN, settled="unproven", why=drill.invalid or drill.not_healed)
    predicted, seen = ({goal.goal: getattr(goal, which) for goal in drill.goals} for which in ("predicted", "seen"))
    how = "unproven" if "unknown" in seen.values() else settled
    return Combination(parts=parts, predicted=predicted, seen=seen, settled=how, by=by)


def _proof(drills: tuple[DrillResult, ...], settled: tuple[Combination, ...], lost: int = 0) -> Proof:
    return Proof(
        stack="shop",
        domain="shop.example.com",
        stack_sha256="3c" * 32,
        nospof="0.1.0",
        packages={"haproxy": "2.6.12-1+deb12u2", "keepalived": "1:2.2.7-1", "mariadb-server": "1:10.11.11-0+deb12u1"},
        machine="2 cores, 8 GiB, Linux 6.1",
        began_at=BEGAN,
        ended_at=BEGAN + 40 * (len(drills) + 1),
        extent="Every host, zone and process alone; hosts and zones in pairs.",
        assumptions=(
            "More failures never help: what stays up with two lost stays up with one of them lost. Tried in 12 drills.",
            "The order of losses does not matter. Pairs that touch the database were tried in both orders.",
        ),
        foretold_sha256="9e" * 32,
        foretold_at=BEGAN - 2,
        drills=drills,
        combinations=settled,
        measured=Measured(tries=16, successes=16, coverage_low=0.794, coverage_high=1.0, took_p50_s=0.04, took_max_s=1.21),
        availability=(
            GoalAvailability(goal="serve", assumed_min=92.4, low_min=71.0, high_min=214.2),
            GoalAvailability(goal="write", assumed_min=134.1, low_min=101.8, high_min=1312.9),
        ),
        acknowledged=184_221,
        lost=lost,
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, proof in (("good", good_proof()), ("mixed", mixed_proof())):
        (folder / f"{name}.html").write_text(report(proof))
        (folder / f"{name}.xml").write_text(junit(proof))
        (folder / f"{name}.txt").write_text(
            "\n".join([*(line(one, len(proof.drills)) for one in proof.drills), "", summary(proof), ""])
        )
    (folder / "drill.html").write_text(drill_report(mixed_proof().drills[3], "shop"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
