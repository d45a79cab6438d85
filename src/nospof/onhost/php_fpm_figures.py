"""What PHP-FPM counts of one application: how many of its processes are busy, and how often all of them were.

    php_fpm_figures SOCKET           prints {name: [kind, meaning, value]}, names as others' exporters have them

It is asked where only this is answered (pm.status_listen): an answer also comes while all processes are busy.
Source: https://www.php.net/manual/en/fpm.status.php.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from nospof.onhost import fastcgi

PATH = "/status"
OK = 200
NAMES = {
    "active processes": ("phpfpm_active_processes", "gauge", "Processes that work on a request."),
    "idle processes": ("phpfpm_idle_processes", "gauge", "Processes that wait for one."),
    "total processes": ("phpfpm_total_processes", "gauge", "Processes in all."),
    "accepted conn": ("phpfpm_accepted_connections_total", "counter", "Requests taken since it was started."),
    "max children reached": ("phpfpm_max_children_reached_total", "counter", "How often there was no process left to start."),
    "slow requests": ("phpfpm_slow_requests_total", "counter", "Requests that took longer than was set for slow ones."),
}


def main(argv: list[str]) -> int:
    """Print the figures; exit 1 with the reason where there are none."""
    (socket,) = argv
    try:
        status, text = fastcgi.get(socket, PATH, PATH, "json")
        if status != OK:
            raise ValueError(f"answered {status}")
        sys.stdout.write(json.dumps(figures(json.loads(text))))
    except (OSError, ValueError, fastcgi.NoAnswer) as error:
        sys.stderr.write(f"{socket}: {error}\n")
        return 1
    return 0


def figures(told: Mapping[str, object]) -> dict[str, tuple[str, str, float]]:
    """PHP-FPM's names as Prometheus'. What it does not tell, or not as a number, is left out. Pure."""
    found = {}
    for name, (figure, kind, meaning) in NAMES.items():
        value = told.get(name)
        if isinstance(value, (int, float)):
            found[figure] = (kind, meaning, float(value))
    return found
