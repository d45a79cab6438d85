"""What people are told of a database server from its own figures: connections that run out, a copy that has stopped.

The names of figures are those of Debian's mysqld_exporter: mysql_global_status_NAME and mysql_global_variables_NAME.
Source: https://github.com/prometheus/mysqld_exporter (0.17.2 in Debian 13).
"""

from __future__ import annotations

from collections.abc import Iterator

from nospof import component as c


def copy_stopped(tier: str) -> c.Alert:
    """A replica that refuses a change takes over none of those after it. MySQL's figures have another name."""
    return c.Alert(
        "CopyStopped",
        f'{{__name__=~"mysql_slave_status_(slave|replica)_sql_running",tier="{tier}"}} == 0',
        "{{ $labels.host }}: its copy has stopped",
        "The server takes over no more changes: one could not be carried out, or somebody stopped it. It serves no reads soon, "
        "and cannot be promoted.",
        "nospof status tells what its agent makes of it. On {{ $labels.host }}: SHOW REPLICA STATUS names the error.",
        for_s=60,
    )


def of_connections(tier: str, reserved: int) -> Iterator[c.Alert]:
    """`reserved`: connections that no application can take."""
    at = f'tier="{tier}"'
    yield c.Alert(
        "DatabaseConnectionsNearLimit",
        f"mysql_global_status_threads_connected{{{at}}} / (mysql_global_variables_max_connections{{{at}}} - {reserved}) > 0.8",
        "{{ $labels.host }}: {{ $value | humanizePercentage }} of the database's connections are taken",
        "When all are taken, applications get errors in place of connections.",
        f"SHOW PROCESSLIST there tells who has them. max_connections of tier {tier} is for each host of an application; or has "
        "one of them more processes than it needs?",
        for_s=30,
    )
    yield c.Alert(
        "DatabaseRefusesConnections",
        f'increase(mysql_global_status_connection_errors_total{{{at},error="max_connections"}}[5m]) > 0',
        "{{ $labels.host }}: the database has refused connections",
        "All connections were taken, and whoever wanted another got an error.",
        f"SHOW PROCESSLIST there tells who has them. In the stack file max_connections of tier {tier} is more.",
        c.Urgency.CRITICAL,
        for_s=0,
    )
