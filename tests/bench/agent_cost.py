# ruff: noqa: T201 - what is printed is the result
"""What the agents cost: throughput and commit latency of writes with them and without, side by side, and their memory and CPU.

`PYTHONPATH=tests/shared .venv/bin/python tests/bench/agent_cost.py [--rounds 20]`, as root.

ABAB in one load: all agents run, all agents are stopped, and again. Replication is the same in both; without its agent a server
goes on as it is, and routers lead to it for five seconds more, so a stop lasts three. The ratio is of neighbouring windows, its
interval from drawing rounds anew.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, median

from failing_database import FailingDatabase

from nospof.drills.workloads.sql_write import History, Kind, Load

WINDOW_S, SETTLE_S, IDLE_S = 2.5, 0.5, 30.0
AGENT, ROLES = "nospof-database-agent.service", "nospof-database-roles.service"
DRAWS = 2000
TICKS_PER_S = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        FailingDatabase.brought_up(Path(folder)) as database,
        ThreadPoolExecutor(len(database.nodes)) as pool,
    ):
        _print_idle(database)
        load = Load(Kind.WRITE, "cost", clients=arguments.clients, seconds=arguments.rounds * 20.0 + 60)
        windows: list[tuple[float, float, float]] = []
        with database.under(load) as running:
            time.sleep(3)
            for number in range(arguments.rounds):
                with_agents = _window()
                list(pool.map(lambda node: database.on(node, "systemctl", "stop", AGENT), database.nodes))
                without = _window()
                list(pool.map(lambda node: database.on(node, "systemctl", "start", AGENT), database.nodes))
                windows.append((with_agents, without, WINDOW_S))
                time.sleep(2)
                print(f"round {number + 1} of {arguments.rounds}", flush=True)
            history = running.finish()
    _print_ratios(history, windows)


def _window() -> float:
    """Let some time settle, then let one window pass; returns when it began."""
    time.sleep(SETTLE_S)
    begun = time.monotonic()
    time.sleep(WINDOW_S)
    return begun


def _print_ratios(history: History, windows: list[tuple[float, float, float]]) -> None:
    rates, latencies = [], []
    for with_agents, without, length_s in windows:
        rates.append(tuple(history.per_s(begun, begun + length_s) for begun in (with_agents, without)))
        latencies.append(tuple(_latency_s(history, begun, length_s) for begun in (with_agents, without)))
    for what, pairs in (("acknowledged writes a second", rates), ("median commit latency, s", latencies)):
        ratios = [one / other for one, other in pairs if other]
        low, high = _interval(ratios)
        sides = " / ".join(f"{median(side):.4g}" for side in zip(*pairs, strict=True))
        print(f"{what}: with / without {sides}, ratio {mean(ratios):.3f} ({low:.3f} to {high:.3f}, 95 %), {len(ratios)} rounds")


def _latency_s(history: History, begun: float, length_s: float) -> float:
    taken = [write.ended - write.invoked for write in history.between(begun, begun + length_s).acknowledged]
    return median(taken) if taken else 0.0


def _interval(ratios: list[float]) -> tuple[float, float]:
    chance = random.Random(1)
    means = sorted(mean(chance.choices(ratios, k=len(ratios))) for _ in range(DRAWS))
    return means[DRAWS // 40], means[-DRAWS // 40]


def _print_idle(database: FailingDatabase) -> None:
    """Memory and CPU of our programs on each database host, while nobody writes."""
    time.sleep(5)
    before = {node: _ticks(database, node) for node in database.nodes}
    time.sleep(IDLE_S)
    for node in database.nodes:
        used = (_ticks(database, node) - before[node]) / TICKS_PER_S / IDLE_S
        memory = int(
            database.on(
                node, "sh", "-c", _each("awk '/^Pss:/ {n += $2} END {print n}' $(printf '/proc/%s/smaps_rollup ' $pids)")
            )
        )
        role = "primary" if node == database.primary() else "replica"
        print(f"{node} ({role}): agent and role server {memory / 1024:.1f} MiB (PSS), {100 * used:.1f} % of a core idle")


def _ticks(database: FailingDatabase, node: str) -> int:
    return int(database.on(node, "sh", "-c", _each("awk '{n += $14 + $15} END {print n}' $(printf '/proc/%s/stat ' $pids)")))


def _each(command: str) -> str:
    show = "systemctl show --value -p MainPID"
    return f'pids="$({show} {AGENT}) $({show} {ROLES})"; {command}'


if __name__ == "__main__":
    main()
