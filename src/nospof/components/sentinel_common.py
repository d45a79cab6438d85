"""What the Sentinels of Valkey and of Redis have in common: three of them in three zones replace a lost primary, if two agree.

They keep what they know in a file of their own, which is only begun by us; what they watch is told to them by a program that
looks first (nospof.onhost.sentinel_monitors). Reasons and figures: docs/decisions/0019-caches.md.
Source: https://valkey.io/topics/sentinel/ (8.1); Redis 8.0 has the same settings and commands.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

from nospof import component as c
from nospof.components.cache_common import TIMERS, WATCH_PORT, CacheSettings

# What a new primary may take before it is tried again with another, and between two tries.
FAILOVER_MS = 6000


class SentinelSettings(c.Settings):
    """What the stack file may say under `options:`."""

    port: int = c.Field(WATCH_PORT, ge=1024, le=65535, description="Port for cache servers and the other Sentinels.")


S = TypeVar("S", bound=SentinelSettings)


class Sentinel(c.Component[S]):
    """The Sentinels of one product."""

    product: ClassVar[str]
    missed_s = 0.0
    about = "It watches the cache servers, and promotes a copy when the primary is lost."
    why = (
        "Two hosts that cannot hear each other cannot tell who of them is cut off. Of three Sentinels in three zones two must "
        "agree that the primary is lost."
    )
    when_lost = "The other Sentinels go on as long as they are a majority: of three one may be lost, of five two."
    redundancy = c.Majority()
    connects = (
        c.Connect(c.Who.PEERS, c.Protocol.CONTROL, "peers", is_required=False),
        c.Connect(c.Who.DEMANDING, c.Protocol.REDIS, "watched", is_required=False),
    )

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        return (c.Listen("sentinel", c.Protocol.CONTROL, self.settings.port, tls=c.Tls.MUTUAL),)

    def parts(self, here: c.Context) -> c.Parts:
        product, unit = self.product, f"{self.product}-sentinel.service"
        folder = f"/etc/nospof/{self.name}"
        state = f"/var/lib/{product}/nospof-sentinel.conf"
        names = {"product": product, "folder": folder}
        tls = here.tls(user=product, for_units=(unit,))
        password = here.secret(f"{self.name}/watch")
        fixed = here.template(FIXED, tls=tls, set=self.settings, product=product, password=password)
        monitors = f"{folder}/monitors.json"
        program = ("/usr/bin/python3", c.ONHOST, "sentinel_monitors", "--config", monitors)
        return c.Parts(
            files=(
                *tls.files,
                c.File(state, SEED, mode=0o640, user=product, ownership=c.Ownership.SEED, for_units=()),
                c.File(f"{folder}/fixed.conf", fixed, mode=0o400, for_units=(unit,)),
                c.File(monitors, self._monitors(here, tls, password, state), mode=0o400, user=product, for_units=(unit,)),
            ),
            units=(c.Unit(unit, text=here.template(UNIT, state=state, program=" ".join(program), **names)),),
            steps=(c.Step("monitors", program, done_when=(*program, "--check")),),
            healthy_when=(c.Probe("sentinel", (*program, "--check"), timeout_s=20),),
        )

    def _monitors(self, here: c.Context, tls: c.TlsFiles, password: str, state: str) -> str:
        hosts = sorted({here.me.id.host, *(target.owner.host for target in here.targets("peers"))})
        told = {
            "host": here.me.id.host,
            "sentinels": {host: here.address(host) for host in hosts},
            "port": self.settings.port,
            "password": password,
            "accepts": here.accepted(f"{self.name}/watch"),
            "state_file": state,
            "tiers": [self._tier(here, tier) for tier in sorted({demand.by.tier for demand in self.demands})],
            "ca": tls.ca,
            "certificate": tls.certificate,
            "key": tls.key,
        }
        return c.as_json(told)

    def _tier(self, here: c.Context, tier: str) -> dict[str, object]:
        settings = here.topology.of_tier(tier)[0].settings
        assert isinstance(settings, CacheSettings)  # noqa: S101 - only such tiers need Sentinels
        members = {one.id.host: here.address(one.id.host) for one in here.topology.of_tier(tier)}
        first = here.choices.get(f"{tier}/first-primary", "")
        return {
            "name": tier,
            "port": settings.port,
            "first": members.get(first) or next(iter(members.values())),
            "auth_user": "nospof_sentinel",
            "auth_pass": here.secret(f"{tier}/sentinel"),
            "down_after_ms": TIMERS[settings.timers].down_ms,
            "failover_ms": FAILOVER_MS,
        }


SEED = "# Begun by nospof; the rest is Sentinel's own.\n"

# Read from standard input (the last argument, "-"), after the file of its own, so that it wins over what was kept there.
FIXED = """\
# Written by nospof from the stack file: changes made here are overwritten.
bind {{ here.host.address }}
port 0
tls-port {{ set.port }}
tls-cert-file {{ tls.certificate }}
tls-key-file {{ tls.key }}
tls-ca-cert-file {{ tls.ca }}
tls-protocols "TLSv1.2 TLSv1.3"
tls-auth-clients yes
# Sentinels use TLS towards servers and each other where this says so.
tls-replication yes
requirepass {{ password }}
sentinel sentinel-pass {{ password }}
sentinel announce-ip {{ here.host.address }}
sentinel announce-port {{ set.port }}
sentinel deny-scripts-reconfig yes
dir /var/lib/{{ product }}
logfile ""
loglevel notice
"""

UNIT = """\
# Written by nospof; in the place of Debian's.
[Unit]
Description=Sentinel: watches the cache servers and replaces a lost primary
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User={{ product }}
Group={{ product }}
StateDirectory={{ product }}
StateDirectoryMode=0750
StandardInput=file:{{ folder }}/fixed.conf
StandardOutput=journal
ExecStart=/usr/bin/{{ product }}-sentinel {{ state }} -
ExecStartPost=-{{ program }} --pace
Restart=always
RestartSec=100ms
TimeoutStopSec=3
LimitNOFILE=16384
# Late answers are taken for death: these come first when the processor is busy.
Nice=-10
OOMScoreAdjust=-900
{{ hardening }}
UMask=0077

[Install]
WantedBy=multi-user.target
"""
