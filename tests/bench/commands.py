# ruff: noqa: T201 - what is printed is the result
"""How long the commands take, beside the budgets of DESIGN section 9: `script/bench [ROUNDS]`.

A round brings the example up in a lab that is new, again with nothing to change, and takes it down. Nothing is asserted.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from live_site import LiveSite


def main(rounds: int) -> None:
    """Measure `rounds` times and print median and largest."""
    took: dict[str, list[float]] = {"up, image cached": [], "up again, nothing to change": [], "status": [], "down": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="nospof-bench-") as folder:
            site = LiveSite(Path(folder) / "stack")
            try:
                took["up, image cached"].append(seconds(lambda site=site: site.nospof("up")))
                took["up again, nothing to change"].append(seconds(lambda site=site: site.nospof("up")))
                took["status"].append(seconds(lambda site=site: site.settled_status()))
                took["down"].append(seconds(lambda site=site: site.nospof("down")))
            finally:
                site.down()
    with tempfile.TemporaryDirectory(prefix="nospof-bench-") as folder:
        large = Path(folder) / "stack.yaml"
        large.write_text(large_stack())
        took["check, 100 hosts"] = [seconds(lambda: nospof("check", str(large))) for _ in range(max(3, rounds))]
    took["--help"] = [seconds(lambda: nospof("--help")) for _ in range(max(5, rounds))]
    budgets = {"up, image cached": 30.0, "up again, nothing to change": 2.0, "check, 100 hosts": 0.5, "--help": 0.15}
    print(f"{'command':<32}{'median':>10}{'largest':>10}{'budget':>10}{'runs':>6}")
    for name, values in took.items():
        budget = f"{budgets[name]:.2f} s" if name in budgets else "-"
        print(f"{name:<32}{median(values):>8.2f} s{max(values):>8.2f} s{budget:>10}{len(values):>6}")


def seconds(act: Callable[[], object]) -> float:
    start = time.monotonic()
    act()
    return time.monotonic() - start


def nospof(*words: str) -> None:
    argv = [sys.executable, "-c", "from nospof.cli.main import main; main()", *words]
    subprocess.run(argv, capture_output=True, check=False)


def large_stack() -> str:
    """100 hosts: 2 load balancers, 95 web servers, a database with a witness."""
    webs = [f"web{number}" for number in range(95)]
    hosts = ["lb1", "lb2", *webs, "db1", "db2", "w1"]
    lines = ["name: large", "domain: large.example.com", "hosts:"]
    lines += [f"  {host}: {{zone: {'abc'[index % 3]}}}" for index, host in enumerate(hosts)]
    lines += [
        "tiers:",
        "  load-balancer: {component: haproxy, hosts: [lb1, lb2], to: web}",
        f"  web: {{component: nginx, hosts: [{', '.join(webs)}], to: app}}",
        f'  app: {{component: gunicorn, hosts: [{", ".join(webs)}], source: ., module: "shop:app", to: database}}',
        "  database: {component: mariadb, hosts: [db1, db2], witness: w1}",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(int(sys.argv[1]))
