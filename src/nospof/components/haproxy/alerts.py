"""What people are told of what visitors get: HAProxy counts every answer, also those for which no server was left.

Burn rates: of thirty days' allowed failures, so much was spent in a long window and is still being spent in a short one, so
that an alert comes soon, ends soon, and never for a single failure. GET and HEAD are pages ("serve"); what goes through the
backends NAME.once are writes. Source: https://sre.google/workbook/alerting-on-slos/, section 6 (windows and factors).
"""

from __future__ import annotations

from dataclasses import dataclass

from nospof import component as c

# With few requests a single failure is a large share: visits that a lost host had just in hand are no reason to wake anybody.
FEWEST_FAILED = 5


@dataclass(frozen=True)
class _Window:
    """`factor` times the allowed rate of failures, over `long` and still over `short`, spends so much of thirty days' share."""

    long: str
    short: str
    factor: float
    spent: str
    urgency: c.Urgency
    every_s: int


WINDOWS = (
    _Window("1h", "5m", 14.4, "a fiftieth in one hour", c.Urgency.CRITICAL, 30),
    _Window("6h", "30m", 6.0, "a twentieth in six hours", c.Urgency.CRITICAL, 60),
    _Window("1d", "2h", 3.0, "a tenth in one day", c.Urgency.WARNING, 300),
    _Window("3d", "6h", 1.0, "a tenth in three days", c.Urgency.WARNING, 300),
)
FAILED = 'code="5xx"'
# What visitors see of each goal, by whom HAProxy counts it.
GOALS = {
    "PagesFail": ("pages", r'proxy!~".*\\.once"'),
    "WritesFail": ("writes", r'proxy=~".*\\.once"'),
}


def of_tier(tier: str, allowed_percent: float, most_per_server: int) -> tuple[c.Alert, ...]:
    """All alerts of one tier of load balancers; `allowed_percent` of the requests may fail."""
    burning = [_burns(tier, name, window, allowed_percent) for name in GOALS for window in WINDOWS]
    at = f'tier="{tier}"'
    return (
        *burning,
        c.Alert(
            "NoServerLeft",
            f'max by (tier, proxy) (haproxy_backend_active_servers{{{at},proxy!~".*\\\\.(once|any)"}} '
            "+ haproxy_backend_backup_servers) == 0",
            "{{ $labels.proxy }}: no server is left that answers",
            "No load balancer finds a server of this site healthy. They ask them all the same; most visitors get an error.",
            "nospof status tells what is wrong on the web and application hosts. After a release: is its /health 200?",
            c.Urgency.CRITICAL,
            for_s=5,
        ),
        c.Alert(
            "RequestsWait",
            f"max_over_time(haproxy_backend_current_queue{{{at}}}[1m]) > 0 and haproxy_backend_current_queue > 0",
            "{{ $labels.proxy }}: requests wait for a free server",
            f"Every server works on as many requests as it may have at once ({most_per_server}); others wait, then get 503.",
            "More visitors than usual, or slower answers? haproxy_backend_response_time_average_seconds. Another host for the "
            "tier behind, or a larger max_connections_per_server, if its hosts are not at their limit.",
            for_s=60,
        ),
        c.Alert(
            "ConnectionsNearLimit",
            f"haproxy_process_current_connections{{{at}}} / haproxy_process_max_connections > 0.8",
            "{{ $labels.host }}: the load balancer is nearly full",
            "It has four fifths of the connections it can carry; visitors beyond that wait until one ends.",
            "Many visitors, or one that opens very many? On the host: ss -tn state established '( sport = :443 )'.",
            for_s=60,
        ),
        c.Alert(
            "ServerFlaps",
            f'changes(haproxy_server_check_status{{{at},proxy!~".*\\\\.(once|any)",state="L7OK"}}[10m]) > 6',
            "{{ $labels.server }} is well and unwell by turns, for {{ $labels.host }}",
            "Its health check fails and passes again and again: it is too slow, restarts, or its network loses packets.",
            "On {{ $labels.server }}: journalctl -u nginx -u 'nospof-*'; is its processor or memory at its limit?",
            for_s=60,
            every_s=60,
        ),
    )


def _burns(tier: str, name: str, window: _Window, allowed_percent: float) -> c.Alert:
    what, proxies = GOALS[name]
    limit = f"{window.factor * allowed_percent / 100:.6g}"
    return c.Alert(
        name,
        f"{failing(tier, proxies, window.long)} > {limit} and {failing(tier, proxies, window.short)} > {limit} "
        f"and sum by (tier) (increase({answers(tier, proxies, FAILED)}[{window.short}])) >= {FEWEST_FAILED}",
        f"{what} fail: {{{{ $value | humanizePercentage }}}} of them in {window.long}",
        f"Of thirty days' allowed failures ({allowed_percent:g} %) {window.spent} is spent at this rate, and they go on. "
        "Counted is what visitors got from the load balancers.",
        "nospof status; on the load balancer that holds the address: journalctl -u haproxy | grep ' 5[0-9][0-9] ' names the "
        "server and the reason.",
        window.urgency,
        for_s=0,
        every_s=window.every_s,
        labels=(("window", window.long),),
    )


def failing(tier: str, proxies: str, window: str) -> str:
    """The share of answers with status 5xx; no series where nobody asked."""
    bad, all_ = (f"rate({answers(tier, proxies, which)}[{window}])" for which in (FAILED, ""))
    return f"sum by (tier) ({bad}) / sum by (tier) ({all_})"


def answers(tier: str, proxies: str, which: str) -> str:
    """The counters of answers, by load balancer, backend and status; `which`: only those with this label."""
    labels = ",".join(filter(None, (f'tier="{tier}"', proxies, which)))
    return f"haproxy_backend_http_responses_total{{{labels}}}"
