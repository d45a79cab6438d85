"""Debian's exporters: each hands out the figures of a server beside it that does not speak Prometheus' format itself.

An exporter belongs to the instance that it measures: figures have that one's tier, and its port is open only where somebody
watches and only to them, over TLS with certificates on both sides. It is no part of the instance's health; that it is silent is
told of as FiguresMissing. Certificate, key and passwords are handed to it by systemd, so that they need not belong to its user.
Reasons: docs/decisions/0025-figures-and-nagios.md.
Source: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md, systemd.exec(5) (LoadCredential).
"""

from __future__ import annotations

from dataclasses import dataclass

from nospof import component as c

USER = "prometheus"


def metrics_listen(port: int) -> c.Listen:
    """Where the figures are read."""
    return c.Listen("metrics", c.Protocol.METRICS, port, tls=c.Tls.MUTUAL)


@dataclass(frozen=True)
class Exporter:
    """One exporter of an instance. `command`: its arguments, in which {FOLDER} is where its secrets lie.

    `secrets`: name → file of the host that it may read under that name. `web_config`: whether it is told of TLS by a file, as
    all that use Prometheus' own toolkit are; others get the paths in `command`.
    """

    here: c.Context
    tls: c.TlsFiles
    program: str
    port: int
    command: tuple[str, ...]
    secrets: tuple[tuple[str, c.File], ...] = ()
    environment: c.File | None = None
    web_config: bool = True
    after: str = ""

    @property
    def unit_name(self) -> str:
        return figures_unit(self.here.me.id.tier)

    @property
    def files(self) -> tuple[c.File, ...]:
        own = tuple(file for _, file in self.secrets) + ((self.environment,) if self.environment else ())
        if not self.web_config:
            return own
        web = self.here.template(WEB_CONFIG, folder=self._folder)
        return (*own, c.File(self._web_config, web, for_units=(self.unit_name,)))

    @property
    def unit(self) -> c.Unit:
        tls = {"ca.pem": self.tls.ca, "certificate.pem": self.tls.certificate, "key.pem": self.tls.key}
        words = [word.replace("{FOLDER}", self._folder) for word in self.command]
        if self.web_config:
            words += [f"--web.listen-address={self.here.host.address}:{self.port}", f"--web.config.file={self._web_config}"]
        text = self.here.template(
            UNIT,
            program=self.program,
            words=words,
            credentials=sorted({**tls, **{name: file.path for name, file in self.secrets}}.items()),
            environment=self.environment.path if self.environment else "",
            after=self.after,
            user=USER,
        )
        return c.Unit(self.unit_name, text=text, is_aside=True)

    @property
    def _folder(self) -> str:
        """Where systemd puts what the unit may read."""
        return f"/run/credentials/{self.unit_name}"

    @property
    def _web_config(self) -> str:
        return f"/etc/nospof/{self.here.me.id.tier}.figures-web.yml"


def figures_unit(tier: str) -> str:
    """The unit of a tier's exporter, which is to notice when the tier's certificate changed."""
    return f"nospof-{tier}-figures.service"


WEB_CONFIG = """\
# Written by nospof: who asks must show a certificate of the stack's.
tls_server_config:
  cert_file: {{ folder }}/certificate.pem
  key_file: {{ folder }}/key.pem
  client_ca_file: {{ folder }}/ca.pem
  client_auth_type: RequireAndVerifyClientCert
  min_version: TLS12
"""

UNIT = """\
# Written by nospof; in the place of Debian's.
[Unit]
Description=Figures of tier {{ here.me.id.tier }} for those that watch the stack
After=network-online.target{{ " " if after }}{{ after }}
StartLimitIntervalSec=0

[Service]
Type=exec
User={{ user }}
Group={{ user }}
{% for name, path in credentials %}
LoadCredential={{ name }}:{{ path }}
{% endfor %}
{% if environment %}
EnvironmentFile={{ environment }}
{% endif %}
Environment=GOMAXPROCS=1 GOMEMLIMIT=48MiB
ExecStart=/usr/bin/{{ program }}{% for word in words %} \\
    {{ word }}{% endfor %}

Restart=always
RestartSec=2s
TimeoutStopSec=3
# What is measured comes first.
Nice=5
OOMScoreAdjust=200
{{ hardening }}
UMask=0077

[Install]
WantedBy=multi-user.target
"""
