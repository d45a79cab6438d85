"""Alertmanager: tells people of alerts, once, however many instances of Prometheus send them.

All instances that deliver for the same people are a mesh: each gets every alert, they tell each other by gossip what was sent,
and each waits its turn before it sends what the one before it may have sent. So one may be lost, and neither is a mail lost nor
one sent twice. Everything of a stack is one group: a host that goes dark is one mail with all that follows from it.

Mails are plain text, for a phone at night: what it is, what it means, what to do. Passwords and URLs are in files of its own
user only. Limits: while its mail server is away, it tries again for as long as the alert lasts; gossip is not encrypted (it
says which alerts were sent), so that the firewall decides who may speak.

Source: https://prometheus.io/docs/alerting/0.28/configuration/, …/high_availability/, …/https/ (0.28.1 in Debian 13).
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from nospof import component as c

UNIT_NAME = "prometheus-alertmanager.service"
FOLDER = "/etc/nospof/alertmanager"
CONFIG, TEMPLATES, WEB = f"{FOLDER}/alertmanager.yml", f"{FOLDER}/mail.tmpl", f"{FOLDER}/web.yml"
AMTOOL, AMTOOL_HTTP = "/etc/prometheus/amtool.yml", f"{FOLDER}/amtool-http.yml"
USER = "prometheus"


class AlertmanagerSettings(c.Settings):
    port: int = c.Field(9093, ge=1024, le=65535, description="Port for those that send alerts.")
    gossip_port: int = c.Field(9094, ge=1024, le=65535, description="Port for the other instances, TCP and UDP.")
    gather_s: int = c.Field(
        5, ge=0, le=3600, description="Seconds from the first alert to the mail, in which others come to stand in it."
    )
    more_after_s: int = c.Field(60, ge=1, le=86_400, description="Seconds between two mails while the alerts change.")
    again_after_h: int = c.Field(12, ge=1, le=168, description="Hours until people are told again of what still lasts.")
    turn_s: int = c.Field(
        8, ge=1, le=120, description="Seconds that an instance waits for the one before it, before it sends the mail itself."
    )
    heartbeat_s: int = c.Field(120, ge=10, le=3600, description="Seconds between two signs of life to the heartbeat URL.")


class Alertmanager(c.Component[AlertmanagerSettings]):
    name = "alertmanager"
    missed_s = 0.0
    about = "It tells people of alerts: it gathers what belongs together and sends it once, by mail or to a URL."
    why = "Whoever gets ten mails for one fault reads none of them; and whoever gets none learns of it from the visitors."
    when_lost = "The others have every alert too, and know what was sent: nothing is lost, and nothing is sent twice."
    packages = ("prometheus-alertmanager", "curl")
    provides = (c.AlertDelivery,)
    connects = (c.Connect(c.Who.PEERS, c.Protocol.GOSSIP, "peers", is_required=False),)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        port = self.settings.port
        return (
            c.Listen("alerts", c.Protocol.CONTROL, port, tls=c.Tls.MUTUAL),
            c.Listen("metrics", c.Protocol.METRICS, port, tls=c.Tls.MUTUAL),
            c.Listen("gossip", c.Protocol.GOSSIP, self.settings.gossip_port),
        )

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        return (
            c.Alert(
                "AlertsNotDelivered",
                "increase(alertmanager_notifications_failed_total[5m]) > 0",
                "{{ $labels.host }}: alerts cannot be sent by {{ $labels.integration }}",
                "The mail server or the URL refused them, or did not answer. If you read this, another way still works.",
                f"On {{{{ $labels.host }}}}: journalctl -u {UNIT_NAME} -n 20 tells what it answered. "
                "The address, server and password are the `alert:` keys of the stack file.",
                c.Urgency.CRITICAL,
            ),
            c.Alert(
                "AlertsSentTwice",
                f'alertmanager_cluster_members < scalar(count(up{{component="{self.name}"}} == 1))',
                "{{ $labels.host }}: does not hear the others that send alerts",
                "Those that send alerts do not hear each other, so that each mail comes once from each of them.",
                f"Is port {self.settings.gossip_port} open between them, TCP and UDP? nospof plan tells what is missing.",
                for_s=60,
            ),
        )

    def panels(self, topology: c.Topology) -> tuple[c.Panel, ...]:
        window = c.RATE_WINDOW
        return (
            c.Panel(
                "Told",
                "Mails and documents that were sent, and those that nobody took.",
                (
                    (f"sum by (host) (increase(alertmanager_notifications_total[{window}]))", "{{host}} sent"),
                    (f"sum by (host) (increase(alertmanager_notifications_failed_total[{window}]))", "{{host}} not taken"),
                ),
            ),
        )

    def parts(self, here: c.Context) -> c.Parts:
        needs = self.needs(c.AlertDelivery)
        tls = here.tls(user=USER, for_units=())
        text = here.template(
            TEXT,
            set=self.settings,
            templates=TEMPLATES,
            hiding=_hiding(here.alerts()),
            emails=[(need, to) for need in needs for to in need.emails],
            webhooks=sorted({url for need in needs for url in need.webhooks}),
            heartbeats=sorted({url for need in needs for url in need.heartbeats}),
            quoted=json.dumps,
        )
        files = (
            c.File(CONFIG, text, check=("amtool", "check-config", CONFIG), mode=0o400, user=USER),
            c.File(TEMPLATES, here.template(MAIL)),
            c.File(WEB, here.template(WEB_CONFIG, tls=tls)),
            c.File(AMTOOL, here.template(AMTOOL_CONFIG, set=self.settings, http=AMTOOL_HTTP), for_units=()),
            c.File(AMTOOL_HTTP, here.template(AMTOOL_HTTP_CONFIG, tls=tls), for_units=()),
        )
        peers = sorted(f"{here.address(peer.owner.host)}:{peer.listen.port}" for peer in here.targets("peers"))
        unit = here.template(UNIT, set=self.settings, peers=peers, config=CONFIG, web=WEB, tier=self.id.tier)
        return c.Parts(
            files=(*tls.files, *files),
            units=(c.Unit(UNIT_NAME, c.OnChange.RELOAD, text=unit),),
            healthy_when=(c.Probe("answers", self._asks(here, tls)),),
        )

    def _asks(self, here: c.Context, tls: c.TlsFiles) -> tuple[str, ...]:
        proof = ("--cacert", tls.ca, "--cert", tls.certificate, "--key", tls.key)
        url = f"https://{here.host.address}:{self.settings.port}/-/healthy"
        return ("/usr/bin/curl", "-fsS", "-o", "/dev/null", "--max-time", "2", *proof, url)


def _hiding(alerts: Iterable[c.Alert]) -> list[c.Alert]:
    """Alerts beside which others say nothing more; one of each name."""
    return list({alert.name: alert for alert in alerts if alert.hides}.values())


# Everything of the stack is one group. A sign of life is no alert: it goes to where it is expected, and nowhere else.
TEXT = """\
# Written by nospof for {{ here.me.id }}; changes made here are replaced.
templates: [{{ templates }}]
route:
  receiver: people
  group_by: [stack]
  group_wait: {{ set.gather_s }}s
  group_interval: {{ set.more_after_s }}s
  repeat_interval: {{ set.again_after_h }}h
  routes:
    - matchers: ['alertname="Watchdog"']
      receiver: heartbeat
      group_wait: 0s
      group_interval: {{ set.heartbeat_s }}s
      repeat_interval: {{ set.heartbeat_s }}s
inhibit_rules:
{% for alert in hiding %}
  - source_matchers: ['alertname="{{ alert.name }}"']
    target_matchers: ['alertname=~"{{ alert.hides | join("|") }}"']
    equal: [{{ alert.hides_by | join(", ") }}]
{% else %}
  []
{% endfor %}
receivers:
  - name: people
    email_configs:
{% for need, to in emails %}
      - to: {{ quoted(to) }}
        from: {{ quoted(need.sender or "nospof@" ~ here.topology.domain) }}
        smarthost: {{ quoted(need.smtp) }}
        require_tls: {{ "true" if need.smtp_tls else "false" }}
{% if need.smtp_user %}
        auth_username: {{ quoted(need.smtp_user) }}
        auth_password: {{ quoted(need.smtp_password) }}
{% endif %}
        send_resolved: true
        headers: {Subject: '{% raw %}{{ template "nospof.subject" . }}{% endraw %}'}
        text: '{% raw %}{{ template "nospof.text" . }}{% endraw %}'
        html: ""
{% else %}
      []
{% endfor %}
    webhook_configs:
{% for url in webhooks %}
      - {url: {{ quoted(url) }}, send_resolved: true}
{% else %}
      []
{% endfor %}
  - name: heartbeat
    webhook_configs:
{% for url in heartbeats %}
      - {url: {{ quoted(url) }}, send_resolved: false}
{% else %}
      []
{% endfor %}
"""

MAIL = """\
{% raw %}
{{ define "nospof.subject" -}}
{{ $told := .Alerts.Firing }}{{ if eq .Status "resolved" }}{{ $told = .Alerts.Resolved }}{{ end -}}
{{ $first := index $told 0 }}{{ range $told }}{{ if eq .Labels.severity "critical" }}{{ $first = . }}{{ end }}{{ end -}}
[{{ .CommonLabels.stack }}] {{ if eq .Status "resolved" }}over: {{ end -}}
{{ if gt (len $told) 1 }}{{ len $told }} alerts: {{ end }}{{ $first.Annotations.summary }}
{{- end }}

{{ define "nospof.firing" }}{{ if eq .Labels.severity "critical" }}CRITICAL: {{ end }}{{ .Annotations.summary }}
  since {{ .StartsAt.UTC.Format "2006-01-02 15:04:05" }} UTC ({{ .Labels.alertname }})
  What it means: {{ .Annotations.description }}
  What to do: {{ .Annotations.action }}

{{ end }}

{{ define "nospof.text" -}}
{{ range .Alerts.Firing }}{{ if eq .Labels.severity "critical" }}{{ template "nospof.firing" . }}{{ end }}{{ end -}}
{{ range .Alerts.Firing }}{{ if ne .Labels.severity "critical" }}{{ template "nospof.firing" . }}{{ end }}{{ end -}}
{{ range .Alerts.Resolved -}}
over: {{ .Annotations.summary }}
  from {{ .StartsAt.UTC.Format "2006-01-02 15:04:05" }} to {{ .EndsAt.UTC.Format "15:04:05" }} UTC ({{ .Labels.alertname }})

{{ end -}}
Stack {{ .CommonLabels.stack }}. How it is now: nospof status
{{ end }}
{% endraw %}
"""

WEB_CONFIG = """\
# Written by nospof: who asks or sends must show a certificate of the stack's. Read again at each connection.
tls_server_config:
  cert_file: {{ tls.certificate }}
  key_file: {{ tls.key }}
  client_ca_file: {{ tls.ca }}
  client_auth_type: RequireAndVerifyClientCert
  min_version: TLS12
"""

# So that `amtool silence add …` needs no more words on this host.
AMTOOL_CONFIG = """\
# Written by nospof.
alertmanager.url: https://{{ here.host.address }}:{{ set.port }}
http.config.file: {{ http }}
"""

AMTOOL_HTTP_CONFIG = """\
# Written by nospof.
tls_config:
  ca_file: {{ tls.ca }}
  cert_file: {{ tls.certificate }}
  key_file: {{ tls.key }}
"""

# What was sent is kept on disk, so that a restart does not send it again.
UNIT = """\
# Written by nospof; in the place of Debian's.
[Unit]
Description=Tells people of alerts
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User=prometheus
Group=prometheus
StateDirectory=prometheus/alertmanager
StateDirectoryMode=0700
Environment=GOMAXPROCS=1 GOMEMLIMIT=96MiB
ExecStart=/usr/bin/prometheus-alertmanager --config.file={{ config }} --web.config.file={{ web }} \\
    --web.listen-address={{ here.host.address }}:{{ set.port }} \\
    --storage.path=/var/lib/prometheus/alertmanager --log.level=warn \\
{% if peers %}
    --cluster.listen-address={{ here.host.address }}:{{ set.gossip_port }} \\
    --cluster.advertise-address={{ here.host.address }}:{{ set.gossip_port }} \\
    --cluster.label={{ here.topology.stack }}-{{ tier }} \\
    --cluster.peer-timeout={{ set.turn_s }}s --cluster.settle-timeout=10s --cluster.reconnect-interval=2s \\
{% for peer in peers %}
    --cluster.peer={{ peer }}{{ "" if loop.last else " \\\\" }}
{% endfor %}
{% else %}
    --cluster.listen-address=
{% endif %}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1s
TimeoutStopSec=5
OOMScoreAdjust=-100
{{ hardening }}
UMask=0077

[Install]
WantedBy=multi-user.target
"""
