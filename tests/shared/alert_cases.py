"""Of every alert that a component can raise: figures with which it fires, and figures close to them with which it does not.

Figures are written as Prometheus' own tests have them: "1x9" is ten times 1, "0+5x9" grows by 5, one value a minute.
Source: https://prometheus.io/docs/prometheus/2.53/configuration/unit_testing_rules/.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from live_site import EXAMPLE
from ruamel.yaml import YAML

from nospof.component import Component, Context, Facts
from nospof.components.prometheus import rules_of
from nospof.resolve import Allotment, resolve
from nospof.stack.load import load
from nospof.stack.model import Stack, StackHost, Tier
from nospof.topology import Topology

Series = dict[str, str]
GIB = 1 << 30
HOSTS = ("lb1", "lb2", "web1", "web2", "db1", "db2", "w1")
"""Of the stack whose rules are tried: examples/distributed."""
LONG = 150
"""Minutes. Longer windows say the same of figures that do not change: a rate needs no full window."""


@dataclass(frozen=True)
class Case:
    """`bad` and each of `losses` make it fire after `minutes`; `good` and each of `fine` do not. Each is all there is to know.

    `fine`: what must not be taken for a loss, as what is known of a stack that is only just looked at, or being set up.
    """

    bad: Series
    good: Series
    minutes: int = 20
    losses: tuple[Series, ...] = ()
    fine: tuple[Series, ...] = ()
    labels: str = ""
    """Of which of several alerts of this name it is told: the others have no figures here."""


def host(figure: str, *labels: str, name: str = "db1", tier: str = "node-exporter", component: str = "node-exporter") -> str:
    told = ",".join((f'host="{name}"', f'tier="{tier}"', f'component="{component}"', *labels))
    return f"{figure}{{{told}}}"


def up(*tiers_and_hosts: str, value: str = "1x99") -> Series:
    """`nospof_instance_up` of "web/web1"."""
    pairs = [one.partition("/") for one in tiers_and_hosts]
    return {host("nospof_instance_up", name=name, tier=tier): value for tier, _, name in pairs}


def asked(*hosts: str) -> Series:
    """The figures of these hosts have been read."""
    return {host("up", name=name): "1x99" for name in hosts}


def dark(*hosts: str) -> Series:
    """These hosts do not answer."""
    return {host("up", name=name): "0x99" for name in hosts}


def back(*hosts: str) -> Series:
    """These hosts answer again since some minutes."""
    return {host("up", name=name): "1x5 0x8 1x99" for name in hosts}


def mute(*hosts: str) -> Series:
    """People have been told that nothing is known of these hosts."""
    return {f'ALERTS{{alertname="NotMeasured",alertstate="firing",host="{name}"}}': "1x99" for name in hosts}


def held(*by: str) -> Series:
    """Which hosts say that they hold the VIP; all the others say that they do not."""
    return {host("nospof_vip_held", 'name="load-balancer"', name=name): "1x99" if name in by else "0x99" for name in HOSTS}


def database(figure: str, **of_hosts: str) -> Series:
    """What the agents of these hosts say."""
    return {host(f"nospof_database_{figure}", name=name, tier="database"): value for name, value in of_hosts.items()}


def disk(figure: str) -> str:
    return host(figure, 'fstype="ext4"', 'mountpoint="/"')


def answers(code: str, proxy: str = "app") -> str:
    return host(
        "haproxy_backend_http_responses_total",
        f'proxy="{proxy}"',
        f'code="{code}"',
        name="lb1",
        tier="load-balancer",
        component="haproxy",
    )


def balancer(figure: str, *labels: str, name: str = "lb1") -> str:
    return host(figure, *labels, name=name, tier="load-balancer", component="haproxy")


def voter(figure: str, *labels: str, name: str = "db1") -> str:
    return host(figure, *labels, name=name, tier="etcd", component="etcd")


def watcher(figure: str, *labels: str, name: str = "lb1") -> str:
    return host(figure, *labels, name=name, tier="monitoring", component="prometheus")


def teller(figure: str, *labels: str, name: str = "lb1") -> str:
    return host(figure, *labels, name=name, tier="alertmanager", component="alertmanager")


def of(figure: str, tier: str, *labels: str, name: str = "one") -> str:
    """A figure of a server that an exporter, or the host, tells of its tier; of the second stack, or of the first's hosts."""
    return host(figure, *labels, name=name, tier=tier, component=tier)


def of_both(figure: str, one: str = "1x99") -> Series:
    """A figure of both load balancers of the second stack."""
    return {of(figure, "load-balancer", name="one"): one, of(figure, "load-balancer", name="two"): "1x99"}


def away(at_home: str = "0x99") -> Series:
    """The VIP whose home is the host one is held by two, or with "1x99" by nobody else than one."""
    elsewhere = "0x99" if at_home == "1x99" else "1x99"
    names = (("one", at_home), ("two", elsewhere))
    return {of("nospof_vip_held", "load-balancer", 'name="load-balancer"', name=name): value for name, value in names}


def burning(proxy: str, bad: str, good: str = "0+600x") -> Series:
    """A growing number of answers ten a second, `bad` of them each minute."""
    return {answers("5xx", proxy): f"0+{bad}x{LONG}", answers("2xx", proxy): f"{good}{LONG}"}


CASES: dict[str, Case] = {
    "Watchdog": Case({}, {}),
    "HostSilent": Case({host("up"): "1x5 0x20"}, {host("up"): "1x99"}),
    "FiguresMissing": Case(
        {host("up"): "1x99", voter("up"): "0x99"},
        {host("up"): "0x99", voter("up"): "0x99"},
    ),
    "RedundancyLost": Case(
        asked("web1", "web2") | up("web/web1") | up("web/web2", value="1x5 0x20"),
        asked("web1", "web2") | up("web/web1", "web/web2"),
        losses=(
            asked("web1", "web2") | up("web/web1") | mute("web2"),
            asked("web1") | back("web2") | up("web/web1") | up("web/web2", value="1x5"),
            asked("web1") | dark("web2") | up("web/web1"),
        ),
        fine=(
            asked("web1") | up("web/web1"),
            asked("web1", "web2") | up("web/web1"),
            asked("web1") | back("web2") | up("web/web1"),
        ),
        labels='tier="web"',
    ),
    "InstanceUnknown": Case(
        asked("web1", "web2") | up("web/web1"),
        asked("web1") | dark("web2") | up("web/web1", value="0x99"),
        labels='tier="web"',
    ),
    "TierDown": Case(
        asked("web2") | dark("web1") | up("web/web2", value="1x5 0x20"),
        asked("web2") | dark("web1") | up("web/web2"),
        fine=(asked("web1"), asked("web1", "web2"), asked("web1", "web2") | up("web/web1", value="0x99")),
        labels='tier="web"',
    ),
    "VipNotHeldByOne": Case(
        asked(*HOSTS) | held("lb1", "lb2"),
        asked(*HOSTS) | held("lb1"),
        losses=(
            asked("lb1", "lb2") | held("lb1", "lb2"),
            {name: value for name, value in (asked(*HOSTS) | held("lb1", "lb2")).items() if value != "0x99"},
            asked("lb1", "lb2") | held(),
        ),
        fine=(asked("web1"), asked(*HOSTS)),
    ),
    "VipAway": Case(
        away() | of_both("nospof_instance_up"),
        away() | of_both("nospof_instance_up", one="0x99"),
        fine=(away("1x99") | of_both("nospof_instance_up"),),
        labels='vip="load-balancer"',
    ),
    "FirewallMissing": Case({host("nospof_firewall_in_force"): "0x99"}, {host("nospof_firewall_in_force"): "1x99"}),
    "NotMeasured": Case(
        {host("up"): "1x99", host("nospof_measured_at_seconds"): "0x99"},
        {host("up"): "1x99", host("nospof_measured_at_seconds"): "0+60x99"},
    ),
    "CertificateEnds": Case(
        {host("nospof_certificate_ends_seconds", 'path="/a.crt"'): f"{29 * 86400}x99"},
        {host("nospof_certificate_ends_seconds", 'path="/a.crt"'): f"{31 * 86400}x99"},
    ),
    "CertificateEnded": Case(
        {host("nospof_certificate_ends_seconds", 'path="/a.crt"'): f"{86400}x99"},
        {host("nospof_certificate_ends_seconds", 'path="/a.crt"'): f"{3 * 86400}x99"},
    ),
    "DiskFills": Case(
        {disk("node_filesystem_avail_bytes"): f"{GIB}x99", disk("node_filesystem_size_bytes"): f"{20 * GIB}x99"},
        {disk("node_filesystem_avail_bytes"): f"{3 * GIB}x99", disk("node_filesystem_size_bytes"): f"{20 * GIB}x99"},
    ),
    "DiskFullSoon": Case(
        {
            disk("node_filesystem_avail_bytes"): f"{8 * GIB}-{GIB // 20}x99",
            disk("node_filesystem_size_bytes"): f"{20 * GIB}x99",
        },
        {disk("node_filesystem_avail_bytes"): f"{7 * GIB}-1000x99", disk("node_filesystem_size_bytes"): f"{20 * GIB}x99"},
        minutes=60,
    ),
    "FewFilesLeft": Case(
        {disk("node_filesystem_files_free"): "4x99", disk("node_filesystem_files"): "100x99"},
        {disk("node_filesystem_files_free"): "6x99", disk("node_filesystem_files"): "100x99"},
    ),
    "MemoryShort": Case(
        {host("node_memory_MemAvailable_bytes"): "4x99", host("node_memory_MemTotal_bytes"): "100x99"},
        {host("node_memory_MemAvailable_bytes"): "6x99", host("node_memory_MemTotal_bytes"): "100x99"},
    ),
    "ProcessKilledForMemory": Case(
        {host("node_vmstat_oom_kill"): "0x15 1x20"},
        {host("node_vmstat_oom_kill"): "1x99"},
    ),
    "ConnectionTableFills": Case(
        {host("node_nf_conntrack_entries"): "81x99", host("node_nf_conntrack_entries_limit"): "100x99"},
        {host("node_nf_conntrack_entries"): "79x99", host("node_nf_conntrack_entries_limit"): "100x99"},
    ),
    "ClockNotSynchronised": Case(
        {host("node_timex_sync_status"): "0x99", host("node_timex_maxerror_seconds"): "16x99"},
        {host("node_timex_sync_status"): "0x99", host("node_timex_maxerror_seconds"): "2x99"},
    ),
    "ClockWrong": Case({host("node_time_seconds"): "3+60x99"}, {host("node_time_seconds"): "1+60x99"}),
    "NotOnePrimary": Case(
        asked("db1", "db2", "w1") | database("takes_writes", db1="1x99", db2="1x99", w1="0x99"),
        asked("db1", "db2", "w1") | database("takes_writes", db1="1x99", db2="0x99", w1="0x99"),
        losses=(
            asked("db1", "db2", "w1") | database("takes_writes", db1="1x99", db2="1x99"),
            asked("db2", "w1") | dark("db1") | database("takes_writes", db2="0x99", w1="0x99"),
        ),
        fine=(
            asked("db2") | database("takes_writes", db2="0x99"),
            asked("db1", "db2", "w1") | database("takes_writes", db2="0x99", w1="0x99"),
        ),
    ),
    "NobodyToPromote": Case(
        asked("db1", "w1") | dark("db2") | database("fit_for_promotion", db1="0x99", w1="0x99"),
        asked("db1", "w1") | dark("db2") | database("fit_for_promotion", db1="1x99", w1="0x99"),
        fine=(asked("db1") | database("fit_for_promotion", db1="0x99"),),
    ),
    "ReplicaBehind": Case(
        {host("nospof_database_lag_seconds", tier="database"): "11x99"},
        {host("nospof_database_lag_seconds", tier="database"): "9x99"},
    ),
    "CopyStopped": Case(
        {of("mysql_slave_status_slave_sql_running", "database", name="db2"): "0x99"},
        {of("mysql_slave_status_slave_sql_running", "database", name="db2"): "1x99"},
    ),
    "DatabaseConnectionsNearLimit": Case(
        {
            of("mysql_global_status_threads_connected", "database", name="db1"): "162x99",
            of("mysql_global_variables_max_connections", "database", name="db1"): "232x99",
        },
        {
            of("mysql_global_status_threads_connected", "database", name="db1"): "158x99",
            of("mysql_global_variables_max_connections", "database", name="db1"): "232x99",
        },
    ),
    "DatabaseRefusesConnections": Case(
        {of("mysql_global_status_connection_errors_total", "database", 'error="max_connections"', name="db1"): "0x18 3x20"},
        {of("mysql_global_status_connection_errors_total", "database", 'error="max_connections"', name="db1"): "3x99"},
    ),
    "WebConnectionsDropped": Case(
        {of("nginx_connections_accepted", "web"): "0+60x99", of("nginx_connections_handled", "web"): "0+50x99"},
        {of("nginx_connections_accepted", "web"): "0+60x99", of("nginx_connections_handled", "web"): "0+60x99"},
    ),
    "WebWorkersBusy": Case(
        {of("apache_workers", "www", 'state="idle"'): "0x99", of("apache_workers", "www", 'state="busy"'): "9x99"},
        {of("apache_workers", "www", 'state="idle"'): "1x99", of("apache_workers", "www", 'state="busy"'): "0x99"},
    ),
    "ApplicationProcessesBusy": Case(
        {of("phpfpm_idle_processes", "pages"): "0x99"},
        {of("phpfpm_idle_processes", "pages"): "1x99"},
    ),
    "CacheNotOnePrimary": Case(
        asked("one", "two") | {of("nospof_takes_writes", "cache", name=name): "0x99" for name in ("one", "two")},
        asked("one", "two")
        | {of("nospof_takes_writes", "cache"): "1x99", of("nospof_takes_writes", "cache", name="two"): "0x99"},
        fine=(asked("two") | {of("nospof_takes_writes", "cache", name="two"): "0x99"},),
        labels='tier="cache"',
    ),
    "CacheCopyCutOff": Case(
        {of("redis_master_link_up", "cache", name="two"): "0x99"},
        {of("redis_master_link_up", "cache", name="two"): "1x99"},
    ),
    "CacheFull": Case(
        {of("redis_memory_used_bytes", "sessions"): "91x99", of("redis_memory_max_bytes", "sessions"): "100x99"},
        {of("redis_memory_used_bytes", "sessions"): "89x99", of("redis_memory_max_bytes", "sessions"): "100x99"},
    ),
    # Of 600 questions a minute, 120 cost another entry its place; 30 are no trouble.
    "CacheEvicts": Case(
        {
            of("redis_evicted_keys_total", "cache"): "0+120x99",
            of("redis_keyspace_hits_total", "cache"): "0+500x99",
            of("redis_keyspace_misses_total", "cache"): "0+100x99",
        },
        {
            of("redis_evicted_keys_total", "cache"): "0+30x99",
            of("redis_keyspace_hits_total", "cache"): "0+500x99",
            of("redis_keyspace_misses_total", "cache"): "0+100x99",
        },
        labels='tier="cache"',
    ),
    "CacheShardsLost": Case(
        {of("cache_cluster_slots_unserved", "shards"): "5462x99"},
        {of("cache_cluster_slots_unserved", "shards"): "0x99"},
        labels='tier="shards"',
    ),
    "CacheShardsNotAsPlanned": Case(
        {of("cache_cluster_servers_lacking", "shards"): "1x99"},
        {of("cache_cluster_servers_lacking", "shards"): "0x99"},
        labels='tier="shards"',
    ),
    "CacheConnectionsNearLimit": Case(
        {of("memcached_current_connections", "store"): "81x99", of("memcached_max_connections", "store"): "100x99"},
        {of("memcached_current_connections", "store"): "79x99", of("memcached_max_connections", "store"): "100x99"},
        labels='tier="store"',
    ),
    "NoMajority": Case(
        {voter("up", name=name): "1x99" for name in ("db1", "db2", "w1")}
        | {voter("etcd_server_has_leader", name="db1"): "1x99", voter("etcd_server_has_leader", name="db2"): "0x99"},
        {voter("up", name=name): "1x99" for name in ("db1", "db2", "w1")}
        | {voter("etcd_server_has_leader", name=name): "1x99" for name in ("db1", "db2")},
        fine=({voter("up"): "1x99", voter("etcd_server_has_leader"): "1x99"},),
    ),
    "LeaderChangesOften": Case(
        {voter("etcd_server_leader_changes_seen_total"): "1+1x99"},
        {voter("etcd_server_leader_changes_seen_total"): "1x10 2x99"},
    ),
    "AgreementSlow": Case(
        {
            voter("etcd_disk_wal_fsync_duration_seconds_bucket", 'le="0.256"'): "0x99",
            voter("etcd_disk_wal_fsync_duration_seconds_bucket", 'le="0.512"'): "0+60x99",
            voter("etcd_disk_wal_fsync_duration_seconds_bucket", 'le="+Inf"'): "0+60x99",
        },
        {
            voter("etcd_disk_wal_fsync_duration_seconds_bucket", 'le="0.128"'): "0+60x99",
            voter("etcd_disk_wal_fsync_duration_seconds_bucket", 'le="0.512"'): "0+60x99",
            voter("etcd_disk_wal_fsync_duration_seconds_bucket", 'le="+Inf"'): "0+60x99",
        },
    ),
    "AgreementFull": Case(
        {voter("etcd_mvcc_db_total_size_in_bytes"): "81x99", voter("etcd_server_quota_backend_bytes"): "100x99"},
        {voter("etcd_mvcc_db_total_size_in_bytes"): "79x99", voter("etcd_server_quota_backend_bytes"): "100x99"},
    ),
    "NoServerLeft": Case(
        {
            balancer("haproxy_backend_active_servers", 'proxy="app"'): "0x99",
            balancer("haproxy_backend_backup_servers", 'proxy="app"'): "0x99",
        },
        {
            balancer("haproxy_backend_active_servers", 'proxy="app"'): "0x99",
            balancer("haproxy_backend_backup_servers", 'proxy="app"'): "1x99",
            balancer("haproxy_backend_active_servers", 'proxy="app.any"'): "0x99",
            balancer("haproxy_backend_backup_servers", 'proxy="app.any"'): "0x99",
        },
    ),
    "RequestsWait": Case(
        {balancer("haproxy_backend_current_queue", 'proxy="app"'): "3x99"},
        {balancer("haproxy_backend_current_queue", 'proxy="app"'): "0x99"},
    ),
    "ConnectionsNearLimit": Case(
        {balancer("haproxy_process_current_connections"): "81x99", balancer("haproxy_process_max_connections"): "100x99"},
        {balancer("haproxy_process_current_connections"): "79x99", balancer("haproxy_process_max_connections"): "100x99"},
    ),
    "ServerFlaps": Case(
        {
            balancer("haproxy_server_check_status", 'proxy="app"', 'server="web1"', 'state="L7OK"'): " ".join(["0", "1"] * 20),
        },
        {balancer("haproxy_server_check_status", 'proxy="app"', 'server="web1"', 'state="L7OK"'): "1x9 0x2 1x30"},
    ),
    "PagesThrownAway": Case(
        {of("varnish_main_n_lru_nuked", "front"): "0+70x99", of("varnish_main_client_req", "front"): "0+600x99"},
        {of("varnish_main_n_lru_nuked", "front"): "0+50x99", of("varnish_main_client_req", "front"): "0+600x99"},
    ),
    "RulesFail": Case(
        {watcher("prometheus_rule_evaluation_failures_total"): "0+1x99"},
        {watcher("prometheus_rule_evaluation_failures_total"): "7x99"},
    ),
    "AlertsNotPassedOn": Case(
        {watcher("prometheus_notifications_errors_total", 'alertmanager="a"'): "0+1x99"},
        {watcher("prometheus_notifications_errors_total", 'alertmanager="a"'): "7x99"},
    ),
    "OldConfigurationInForce": Case(
        {watcher("prometheus_config_last_reload_successful"): "0x99"},
        {watcher("prometheus_config_last_reload_successful"): "1x99"},
    ),
    "AlertsNotDelivered": Case(
        {teller("alertmanager_notifications_failed_total", 'integration="email"'): "0+1x99"},
        {teller("alertmanager_notifications_failed_total", 'integration="email"'): "7x99"},
    ),
    "AlertsSentTwice": Case(
        {teller("up", name=name): "1x99" for name in ("lb1", "web2")}
        | {teller("alertmanager_cluster_members", name=name): "1x99" for name in ("lb1", "web2")},
        {teller("up", name="lb1"): "1x99", teller("up", name="web2"): "0x99"}
        | {teller("alertmanager_cluster_members", name="lb1"): "1x99"},
    ),
    # One in a hundred fails, of which one in a thousand may: ten times too many. Too few for the fastest window (14.4 times).
    "PagesFail": Case(
        burning("app", "40"),
        burning("app", "0.5"),
        minutes=120,
        # Of two visits a minute, three failed just now.
        fine=({answers("5xx"): "0x118 3x40", answers("2xx"): "0+2x150"},),
    ),
    "WritesFail": Case(burning("app.once", "40"), burning("app", "40"), minutes=120),
}


def example_rules() -> str:
    """The rules that hosts of examples/distributed get."""
    kinds = {name: kind.settings_type for name, kind in Component.kinds.items()}
    return _rules(resolve(load(EXAMPLE / "stack.yaml", kinds), Allotment()).topology)


def second_stack() -> Stack:
    """One with the components that the first has not."""

    def tier(name: str, component: str, hosts: tuple[str, ...], to: tuple[str, ...] = (), **settings: object) -> Tier:
        return Tier(name, component, hosts, Component.kinds[component].settings_type.model_validate(settings), to)

    both = ("one", "two")
    tiers = (
        tier("load-balancer", "haproxy", both, ("front",), mode="active-active"),
        tier("front", "varnish", both, ("www",)),
        tier("www", "apache", both, ("pages",)),
        tier("pages", "php-fpm", both, ("cache", "sessions", "store", "shards"), source="app"),
        tier("cache", "valkey", both),
        tier("sessions", "redis", both, port=6390, role_port=8010, metrics_port=9122, when_full="refuse"),
        tier("store", "memcached", both),
        tier("shards", "redis-cluster", ("one", "two", "three")),
        tier("monitoring", "prometheus", both),
        tier("watch", "nagios", both),
    )
    hosts = tuple(StackHost(name, zone) for name, zone in (("one", "a"), ("two", "b"), ("three", "c")))
    # Sentinels of both products are on all three hosts.
    options = {"redis-sentinel": Component.kinds["redis-sentinel"].settings_type.model_validate({"port": 26380})}
    return Stack("second", "second.example.com", hosts, tiers, Path("stack.yaml"), options=options)


def more_rules() -> str:
    """The rules that hosts of the second stack get."""
    return _rules(resolve(second_stack(), Allotment()).topology)


def _rules(topology: Topology) -> str:
    facts = Facts("3.13", "13.1", "x86_64", "host0", 16, 524288, 4096, 4)
    return rules_of(Context(topology, topology.of_tier("monitoring")[0], facts, {}, {}))


def as_files(*rules: str) -> dict[str, str]:
    """Files for `promtool test rules *-test.yml`, from Prometheus' files of rules: each alert by itself, which is fast.

    What several files have is taken from the first. Each case fires with its bad figures and not with its good ones. Raises
    AssertionError for a rule without a case, or a case without a rule.
    """
    by_name: dict[str, list[object]] = {}
    for text in rules:
        of_file: dict[str, list[object]] = {}
        for group in YAML(typ="safe").load(text)["groups"]:
            for rule in group["rules"]:
                of_file.setdefault(rule["alert"], []).append(rule)
        by_name = of_file | by_name
    assert set(CASES) == set(by_name), set(CASES) ^ set(by_name)
    files = {f"{name}.yml": _yaml({"groups": [{"name": name, "rules": found}]}) for name, found in by_name.items()}
    return files | {f"{name}-test.yml": _yaml(_tests(name, CASES[name])) for name in by_name}


def _tests(name: str, case: Case) -> dict[str, object]:
    fires = {"bad": (case.bad, True), "good": (case.good, name == "Watchdog")}
    fires |= {f"loss {number}": (loss, True) for number, loss in enumerate(case.losses, 1)}
    fires |= {f"fine {number}": (fine, False) for number, fine in enumerate(case.fine, 1)}
    labels = ",".join(filter(None, (f'alertname="{name}"', 'alertstate="firing"', case.labels)))
    count = f"min(count(ALERTS{{{labels}}}) > bool 0) or vector(0)"
    tests = [
        {
            "name": f"{name} with {kind} figures",
            "interval": "1m",
            "input_series": [{"series": one, "values": values} for one, values in series.items()],
            "promql_expr_test": [
                {"expr": count, "eval_time": f"{case.minutes}m", "exp_samples": [{"labels": "{}", "value": int(is_firing)}]}
            ],
        }
        for kind, (series, is_firing) in fires.items()
    ]
    return {"rule_files": [f"{name}.yml"], "evaluation_interval": "1m", "tests": tests}


def _yaml(value: object) -> str:
    text, yaml = StringIO(), YAML(typ="safe")
    # Prometheus' own reader stumbles over a question mark within braces.
    yaml.default_flow_style = False
    yaml.dump(value, text)
    return text.getvalue()
