"""Prometheus: measures everything in the stack every few seconds and notices what must not stay as it is.

Its hosts do all of it twice: each asks every endpoint of the stack that tells figures, each looks at the same rules, and each
sends its alerts to everybody who delivers them. They differ in the label `replica` only, which is taken off alerts, so that the
same fault is the same alert. What to watch and which alerts there are follows from the topology: a component that listens for
METRICS is asked, and what it says in `alerts` is a rule.

Limits: figures are kept on the host that measured them; two hosts have nearly the same ones, not one history. The page at its
port is for those who are on the host (ssh -L), since it knows no passwords.

Source: https://prometheus.io/docs/prometheus/2.53/configuration/configuration/ (2.53.3 in Debian 13); reasons and figures:
docs/decisions/0017-monitoring.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nospof import component as c
from nospof.components import alert_keys
from nospof.components.alert_keys import AlertKeys

UNIT_NAME = "prometheus.service"
FOLDER = "/etc/nospof/prometheus"
CONFIG, RULES = f"{FOLDER}/prometheus.yml", f"{FOLDER}/rules.yml"
USER = "prometheus"
# Less than a look at everything, so that a host that is dark is noticed in the same round.
TIMEOUT_SHARE = 0.4


class PrometheusSettings(c.Settings):
    alert: AlertKeys | None = c.Field(None, description="Who is told of alerts, and how. Without it nobody is.")
    port: int = c.Field(9090, ge=1024, le=65535, description="Port of its own figures and of its page.")
    every_s: int = c.Field(10, ge=2, le=60, description="Seconds between two looks at everything.")
    keep_days: int = c.Field(15, ge=1, le=3650, description="Days that figures are kept.")
    keep_mib: int = c.Field(2048, ge=64, description="Most disk that figures may take; then the oldest go.")


class Prometheus(c.Component[PrometheusSettings]):
    name = "prometheus"
    missed_s = 0.0
    about = "It measures every part of the stack every few seconds, keeps the figures, and notices what must not stay as it is."
    why = "A stack that outlives every failure hides them: somebody must hear of the first before the second."
    when_lost = "The others measure the same and send the same alerts. Its figures are away until its host is back."
    packages = ("prometheus", "curl")
    # Figures are not synced one by one: what a power cut leaves half written is cut off at the next start.
    mends_saying = (
        r'component=tsdb.* msg="Encountered W[AB]L read error, attempting repair"',
        r'component=tsdb.* msg="Starting corruption repair"',
        r'component=tsdb.* msg="(Deleting all segments newer than|Rewrite) corrupted segment"',
    )
    connects = (
        c.Connect(c.Who.ALL, c.Protocol.METRICS, "scrape", is_required=False),
        c.Connect(c.ProviderOf(c.AlertDelivery), c.Protocol.CONTROL, "alert", is_required=False),
    )

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        return (c.Listen("metrics", c.Protocol.METRICS, self.settings.port),)

    @property
    def wants(self) -> tuple[c.Wants, ...]:
        measured = c.Wants(c.HostMetrics(), c.Place.EVERY_HOST)
        delivery = alert_keys.delivery(self.settings.alert)
        return (measured,) if delivery is None else (measured, c.Wants(delivery))

    @classmethod
    def objections(cls, tier: c.Tier) -> tuple[c.Objection, ...]:
        settings = tier.settings
        assert isinstance(settings, PrometheusSettings)  # noqa: S101 - the loader made it from this class
        return alert_keys.objections(settings.alert)

    def cautions(self, topology: c.Topology) -> tuple[c.Objection, ...]:
        return alert_keys.cautions(self.id.tier, self.settings.alert, topology)

    # --- what is noticed -------------------------------------------------------------------------------------------------
    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        measured = c.measured(topology, [host.name for host in topology.hosts])
        return (*self._own_alerts(measured), *_tier_alerts(topology, measured))

    def _own_alerts(self, measured: str) -> Iterator[c.Alert]:
        yield c.Alert(
            "Watchdog",
            "vector(1)",
            "alerts arrive",
            "This one always fires: while it arrives at the heartbeat URL, others would arrive too.",
            "Nothing. When it does not arrive: nospof status, and look whether the hosts that watch have a way out.",
            c.Urgency.WARNING,
            for_s=0,
        )
        yield c.Alert(
            "FiguresMissing",
            f"up == 0 unless on (host) ({measured} == 0)",
            "{{ $labels.host }}: no figures of {{ $labels.component }}",
            "{{ $labels.component }} of tier {{ $labels.tier }} does not tell its figures, though its host answers. "
            "Alerts that rest on them cannot fire.",
            "nospof status tells whether it runs; nospof plan whether its configuration is as it should be.",
            for_s=60,
        )
        yield c.Alert(
            "RulesFail",
            "increase(prometheus_rule_evaluation_failures_total[5m]) > 0",
            "{{ $labels.host }}: alerts cannot be worked out",
            "Some rules of Prometheus fail, so that what they would tell of goes unnoticed.",
            f"On {{{{ $labels.host }}}}: journalctl -u {UNIT_NAME} -n 20 names the rule.",
            c.Urgency.CRITICAL,
            for_s=60,
        )
        yield c.Alert(
            "AlertsNotPassedOn",
            "increase(prometheus_notifications_errors_total[2m]) > 0 "
            "unless on (host) (min by (host) (prometheus_notifications_alertmanagers_discovered) == 0)",
            "{{ $labels.host }}: alerts do not reach {{ $labels.alertmanager }}",
            "One of those that tell people does not take alerts from this instance; the others still do.",
            "nospof status tells whether it runs. Is its certificate good, and its port open?",
            for_s=30,
        )
        yield c.Alert(
            "OldConfigurationInForce",
            "prometheus_config_last_reload_successful == 0",
            "{{ $labels.host }}: Prometheus goes on with an old configuration",
            "Its present configuration was refused when it was read again: new hosts and rules are not watched.",
            f"On {{{{ $labels.host }}}}: promtool check config {CONFIG}. nospof up writes it anew.",
        )

    def panels(self, topology: c.Topology) -> tuple[c.Panel, ...]:
        return (
            c.Panel(
                "Alerts",
                "What people are told of, and what is about to be.",
                (('count by (alertname, alertstate) (ALERTS{alertname!="Watchdog"})', "{{alertname}} {{alertstate}}"),),
                can_be_empty=True,
            ),
            c.Panel(
                "Measured",
                "Whether the figures of each part could be read.",
                (("min by (tier, host) (up)", "{{tier}} on {{host}}"),),
                c.Scale.YES_OR_NO,
            ),
        )

    # --- what the host must have -----------------------------------------------------------------------------------------
    def parts(self, here: c.Context) -> c.Parts:
        tls = here.tls(user=USER, for_units=())
        values = {"set": self.settings, "tls": tls, "rules_file": RULES, "quoted": _quoted}
        receivers = sorted(f"{here.address(target.owner.host)}:{target.listen.port}" for target in here.targets("alert"))
        timeout_s = max(1, int(self.settings.every_s * TIMEOUT_SHARE))
        config = here.template(TEXT, receivers=receivers, jobs=_jobs(here), timeout_s=timeout_s, **values)
        rules = rules_of(here)
        files = (
            c.File(RULES, rules, check=("promtool", "check", "rules", RULES)),
            c.File(CONFIG, config, check=("promtool", "check", "config", CONFIG)),
        )
        unit = here.template(UNIT, set=self.settings, config=CONFIG)
        ready = ("/usr/bin/curl", "-fsS", "-o", "/dev/null", "--max-time", "2")
        url = f"http://{here.host.address}:{self.settings.port}/-/ready"
        return c.Parts(
            files=(*tls.files, *files),
            units=(c.Unit(UNIT_NAME, c.OnChange.RELOAD, text=unit),),
            healthy_when=(c.Probe("ready", (*ready, url), timeout_s=60.0),),
        )


@dataclass(frozen=True)
class _Target:
    """One endpoint that is asked, and what is said of whom it belongs to."""

    at: str
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Job:
    name: str
    is_encrypted: bool
    targets: tuple[_Target, ...]


def _jobs(here: c.Context) -> list[_Job]:
    """What is asked, by component. Its own figures are asked for like those of others."""
    own = [
        c.Endpoint(here.me.id, here.me.rank, listen)
        for listen in c.Component.kinds[here.me.component](here.me).listens
        if listen.speaks is c.Protocol.METRICS
    ]
    found: dict[tuple[str, bool], list[_Target]] = {}
    for endpoint in sorted({*here.targets("scrape"), *own}, key=str):
        component = here.topology.instance(endpoint.owner).component
        is_encrypted = endpoint.listen.tls is not c.Tls.NONE
        found.setdefault((component, is_encrypted), []).append(_target(here, endpoint, component))
    return [_Job(name, is_encrypted, tuple(targets)) for (name, is_encrypted), targets in sorted(found.items())]


def _target(here: c.Context, endpoint: c.Endpoint, component: str) -> _Target:
    host = here.topology.host(endpoint.owner.host)
    labels = (("host", host.name), ("zone", host.zone), ("tier", endpoint.owner.tier), ("component", component))
    return _Target(f"{host.address}:{endpoint.listen.port}", labels)


def rules_of(here: c.Context) -> str:
    """All alerts of the stack as Prometheus' file of rules: a group for each pace at which they are looked at. Pure."""
    alerts = here.alerts()
    groups = [
        (every_s, [alert for alert in alerts if alert.every_s == every_s]) for every_s in sorted({a.every_s for a in alerts})
    ]
    return here.template(RULES_TEXT, groups=groups, quoted=_quoted)


# --- what follows from the stack file alone ------------------------------------------------------------------------------
def _measuring(topology: c.Topology) -> set[str]:
    return {one.id.tier for one in topology.instances if any(isinstance(d.need, c.HostMetrics) for d in one.demands)}


def _tier_alerts(topology: c.Topology, measured: str) -> Iterator[c.Alert]:
    """Of each tier whether it has all its members, or none; of each host whether it answers."""
    yield c.Alert(
        "HostSilent",
        f"{measured} == 0",
        "{{ $labels.host }} does not answer",
        "The host is dark, cut off, or too busy to say how it is. What ran there counts as lost.",
        "nospof status tells what is left. Is it powered, and does its network work? Then look at its console.",
    )
    for tier in sorted({one.id.tier for one in topology.instances} - _measuring(topology)):
        members = topology.of_tier(tier)
        if len(members) > 1:
            yield _fewer(topology, tier, members)
        yield _none(topology, tier, members)
        yield _untold(topology, tier, members)


def _fewer(topology: c.Topology, tier: str, members: tuple[c.Instance, ...]) -> c.Alert:
    hosts = [one.id.host for one in members]
    asked = c.measured(topology, hosts)
    lost = f"{_told(tier)} == 0 or {asked} == 0 or ({asked} == 1 unless on (host) {_told(tier)})"
    named = f"{{{{ range query `{lost}` }}}} {{{{ .Labels.host }}}}{{{{ end }}}}"
    return c.Alert(
        "RedundancyLost",
        c.fewer(_told(tier), f"< {len(members)}", topology, hosts),
        f"tier {tier} has {{{{ $value }}}} of {len(members)} healthy, without{named}",
        f"The stack file gives tier {tier} ({members[0].component}) {len(members)} hosts, and fewer are healthy now. "
        "Visitors may see nothing of it; the next failure may stop them.",
        "nospof status tells what is wrong there, and journalctl on that host why. It takes part again once it is back.",
        labels=(("tier", tier),),
    )


def _none(topology: c.Topology, tier: str, members: tuple[c.Instance, ...]) -> c.Alert:
    one = "its only instance" if len(members) == 1 else f"none of its {len(members)} instances"
    is_not = "is not healthy" if len(members) == 1 else "is healthy"
    return c.Alert(
        "TierDown",
        c.fewer(_told(tier), "== 0", topology, [one.id.host for one in members]),
        f"tier {tier} is down",
        f"Of tier {tier} ({members[0].component}) {one} {is_not}.",
        "nospof status tells what is wrong, and journalctl on those hosts why. nospof up puts right what was changed by hand.",
        c.Urgency.CRITICAL,
        labels=(("tier", tier),),
        hides=("RedundancyLost",),
        hides_by=("tier",),
    )


def _untold(topology: c.Topology, tier: str, members: tuple[c.Instance, ...]) -> c.Alert:
    return c.Alert(
        c.INSTANCE_UNKNOWN,
        f"{c.measured(topology, [one.id.host for one in members])} == 1 unless on (host) {_told(tier)}",
        f"{{{{ $labels.host }}}}: nothing is known of its tier {tier}",
        f"The stack file gives this host an instance of tier {tier} ({members[0].component}), and the host itself knows "
        "nothing of it: it was never set up to the end.",
        "Run nospof up, and let it end.",
        # A first `up` may take minutes between the first host's figures and the last host's end.
        for_s=c.UNKNOWN_FOR_S,
        labels=(("tier", tier),),
    )


def _told(tier: str) -> str:
    return f'nospof_instance_up{{tier="{tier}"}}'


def _quoted(text: str) -> str:
    """In YAML's single quotes, which leave everything else as it is."""
    return "'" + text.replace("'", "''") + "'"


UNIT = """\
# Written by nospof; in the place of Debian's.
[Unit]
Description=Measures the whole stack
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User=prometheus
Group=prometheus
StateDirectory=prometheus/nospof
StateDirectoryMode=0700
# One processor is enough, and the stack's own work comes first.
Environment=GOMAXPROCS=1 GOGC=50
Nice=5
ExecStart=/usr/bin/prometheus --config.file={{ config }} --storage.tsdb.path=/var/lib/prometheus/nospof \\
    --storage.tsdb.retention.time={{ set.keep_days }}d --storage.tsdb.retention.size={{ set.keep_mib }}MB \\
    --web.listen-address={{ here.host.address }}:{{ set.port }} --log.level=warn
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1s
TimeoutStopSec=20
LimitNOFILE=65536
OOMScoreAdjust=100
{{ hardening }}
UMask=0077

[Install]
WantedBy=multi-user.target
"""

TEXT = """\
# Written by nospof for {{ here.me.id }} from the stack's links; changes made here are replaced.
global:
  scrape_interval: {{ set.every_s }}s
  scrape_timeout: {{ timeout_s }}s
  evaluation_interval: {{ set.every_s }}s
  external_labels:
    stack: {{ here.topology.stack }}
    replica: {{ here.host.name }}
rule_files: [{{ rules_file }}]
alerting:
  # The other instances' alert is the same alert.
  alert_relabel_configs:
    - {action: labeldrop, regex: replica}
{% if receivers %}
  alertmanagers:
    - scheme: https
      timeout: 5s
      tls_config: {ca_file: {{ tls.ca }}, cert_file: {{ tls.certificate }}, key_file: {{ tls.key }}}
      static_configs:
        - targets: [{% for at in receivers %}{{ quoted(at) }}{{ ", " if not loop.last }}{% endfor %}]
{% endif %}
scrape_configs:
{% for job in jobs %}
  - job_name: {{ job.name ~ ("-tls" if job.is_encrypted else "") }}
    # What a host tells of its instances has their tiers, not that of who measured them.
    honor_labels: true
{% if job.is_encrypted %}
    scheme: https
    tls_config: {ca_file: {{ tls.ca }}, cert_file: {{ tls.certificate }}, key_file: {{ tls.key }}}
{% endif %}
    static_configs:
{% for target in job.targets %}
      - targets: [{{ quoted(target.at) }}]
        labels: { {%- for name, value in target.labels %} {{ name }}: {{ value }}{{ "," if not loop.last }}{% endfor %} }
{% endfor %}
{% endfor %}
"""

RULES_TEXT = """\
# Written by nospof from what the stack's components say in `alerts`; changes made here are replaced.
groups:
{% for every_s, alerts in groups %}
  - name: {{ "stack, every %d s" % every_s if every_s else "stack" }}
{% if every_s %}
    interval: {{ every_s }}s
{% endif %}
    rules:
{% for alert in alerts %}
      - alert: {{ alert.name }}
        expr: {{ quoted(alert.expression) }}
        for: {{ alert.for_s }}s
        labels:
          severity: {{ alert.urgency.value }}
{% for name, value in alert.labels %}
          {{ name }}: {{ quoted(value) }}
{% endfor %}
        annotations:
          summary: {{ quoted(alert.says) }}
          description: {{ quoted(alert.means) }}
          action: {{ quoted(alert.do) }}
{% endfor %}
{% endfor %}
"""
