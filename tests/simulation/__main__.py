"""Runs worlds one after the other until one violates an invariant or the time is over; prints the shortest history.

python -m tests.simulation --seconds 60 --seed 1
python -m tests.simulation --seconds 60 --mistake no-drain
python -m tests.simulation --seed 17 --once --history
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from tests.simulation.mistakes import MISTAKES, Mistake
from tests.simulation.shrink import shrink
from tests.simulation.world import Result, run

from nospof.onhost.agent.decide import TABLE

MOST_LINES = 150


def main() -> int:
    """Return 0 when nothing was found, 1 after a violation."""
    options = _options()
    mistake = MISTAKES[options.mistake]()
    if options.once:
        result = run(options.seed, mistake, tells=options.history)
        _say(told(result) if options.history or result.invariant else f"seed {result.seed}: nothing found")
        return 1 if result.invariant else 0
    return _search(options, mistake)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of this machine's time")
    parser.add_argument("--seed", type=int, default=1, help="the first one; each world takes the next")
    parser.add_argument("--mistake", choices=sorted(MISTAKES), default="none", help="plant it")
    parser.add_argument("--once", action="store_true", help="this seed only")
    parser.add_argument("--history", action="store_true", help="with --once: print all that happened")
    parser.add_argument("--moves", action="store_true", help="print how often hosts went from which state to which")
    parser.add_argument("--go-on", type=Path, metavar="FOLDER", help="write each kind of violation into the folder, and go on")
    return parser.parse_args()


def _search(options: argparse.Namespace, mistake: Mistake) -> int:
    began_s, seed = time.monotonic(), options.seed
    events, worlds, promotions, found, rules = 0, 0, 0, Counter[str](), Counter[str]()
    moves = Counter[tuple[str, str]]()
    while time.monotonic() - began_s < options.seconds:
        result = run(seed, mistake)
        seed, worlds, events, promotions = seed + 1, worlds + 1, events + result.events, promotions + result.promotions
        rules += result.rules
        moves += result.moves
        if not result.invariant:
            continue
        found[result.invariant] += 1
        if options.go_on is None:
            _say(told(shrink(result, mistake)))
            break
        if found[result.invariant] <= 3:
            path = options.go_on / f"{result.invariant}-{result.seed}.txt"
            path.write_text(told(shrink(result, mistake)))
    spent_s = time.monotonic() - began_s
    _say(f"{worlds} worlds, {events} events, {promotions} promotions in {spent_s:.1f} s ({events / spent_s:.0f} events/s)")
    _say(f"violations: {', '.join(f'{name} {count}' for name, count in found.most_common()) or 'none'}")
    known = {rule.__name__ for rules_of in TABLE.values() for rule in rules_of}
    _say(f"rules never reached: {', '.join(sorted(known - rules.keys())) or 'none'}")
    if options.moves:
        _say("\n".join(f"{count:8} {before} → {after}" for (before, after), count in sorted(moves.items())))
    return 1 if found else 0


def told(result: Result) -> str:
    """Tell a run: the faults, then what happened, one line each."""
    lines = [f"seed {result.seed}, faults:", *(f"  {fault}" for fault in result.faults)]
    lines += [*result.history[:12], "  ..."] if len(result.history) > MOST_LINES + 12 else []
    lines += result.history[-MOST_LINES:] if len(result.history) > MOST_LINES + 12 else result.history
    return "\n".join([*lines, f"{result.ended_s:9.4f} {result.text or 'nothing was violated'}"]) + "\n"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
