"""What is drawn of the load balancers: what visitors got, how long it took, and what is left behind."""

from __future__ import annotations

from nospof import component as c
from nospof.components.haproxy.alerts import GOALS, failing

# Of the three backends of a site the first has the check that tells which servers are well.
SITES = r'proxy!~".*\\.(once|any)"'


def of_tier(tier: str, allowed_percent: float) -> tuple[c.Panel, ...]:
    """All panels of one tier of load balancers; `allowed_percent` of the requests may fail."""
    at, window = f'tier="{tier}"', c.RATE_WINDOW
    visitors = f'haproxy_frontend_http_responses_total{{{at},proxy="visitors"}}'
    return (
        c.Panel(
            "Requests",
            "What visitors got, by status: everything that came in, whoever answered.",
            ((f"sum by (code) (rate({visitors}[{window}]))", "{{code}}"),),
            c.Scale.PER_S,
        ),
        c.Panel(
            "Failing",
            f"The share of answers with status 5xx; {allowed_percent:g} % are allowed (promised_percent).",
            tuple((failing(tier, proxies, window), what) for what, proxies in GOALS.values()),
            c.Scale.SHARE,
            limit=allowed_percent / 100,
            can_be_empty=True,
        ),
        c.Panel(
            "Time to answer",
            "The mean of the last 1024 answers of each site's servers; a load balancer that nobody asks keeps its last one.",
            ((f"haproxy_backend_response_time_average_seconds{{{at},{SITES}}}", "{{proxy}} at {{host}}"),),
            c.Scale.SECONDS,
        ),
        c.Panel(
            "Servers that are well",
            "How many servers of each site pass their health check, as each load balancer sees it.",
            ((f"haproxy_backend_active_servers{{{at},{SITES}}} + haproxy_backend_backup_servers", "{{proxy}} at {{host}}"),),
        ),
        c.Panel(
            "Waiting",
            "Requests that wait for a free server.",
            ((f"sum by (proxy, host) (haproxy_backend_current_queue{{{at}}})", "{{proxy}} at {{host}}"),),
        ),
        c.Panel(
            "Connections",
            "Of the connections that a load balancer can carry, the share that is open.",
            ((f"haproxy_process_current_connections{{{at}}} / haproxy_process_max_connections", "{{host}}"),),
            c.Scale.SHARE,
            limit=0.8,
        ),
    )
