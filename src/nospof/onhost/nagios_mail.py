"""What people are told of what Nagios noticed: one mail for all of a moment, as a phone shows it at night.

Each notification of Nagios is kept as a file; a few seconds after the first, all that are there become one mail, and one JSON
document for each URL. What cannot be sent stays and is tried again. Where an instance before this one is well, that one tells,
and this one waits until it surely has. So a mail may come twice, where the first dies after it, and never not at all.
"""

from __future__ import annotations

import http.client
import json
import os
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from time import gmtime, strftime

from nospof.onhost.agent.hooks import NotTaken, post

LIMIT_S = 8.0
ENCRYPTED_PORT = 465
# What happens within so many seconds is one mail.
GATHER_S = 5.0
# So long the one before this one has to tell it: looks, gathering, and a mail server that is slow.
TURN_S = 40.0
MOST_KEPT = 500
# What nobody could be told in a day nobody needs any more.
STALE_S = 86_400.0
NAMES = {"WARNING": "", "CRITICAL": "CRITICAL: ", "DOWN": "CRITICAL: "}

TEXTS = {
    "": (
        "The host is dark, cut off, or too busy to say how it is. What ran there counts as lost.",
        "nospof status tells what is left. Is it powered, and does its network work? Then look at its console.",
    ),
    "figures": (
        "The host answers, but nospof's own program there has written no figures for a minute, or its clock is wrong.",
        "There: systemctl status nospof-measures; timedatectl. Until then nospof status tells how the host is.",
    ),
    "disks": (
        "Hardly any of the disk is free. A database that cannot write stops, and logs are lost.",
        "There: du -xh --max-depth=2 / | sort -h | tail. Remove what is not needed.",
    ),
    "memory": (
        "Less than a twentieth of the memory is available. Next the kernel ends the largest process.",
        "There: systemd-cgtop -m shows which service has it.",
    ),
    "certificates": (
        "A certificate is near its end; then whoever asks for it refuses to speak with this host.",
        "Run nospof up: it renews each certificate of which less than a third of its life is left.",
    ),
    "firewall": (
        "The table inet nospof is missing or lets everything in: every port of the host is open to whoever reaches it.",
        "There: systemctl restart nospof-firewall.service. Then find out who took it away.",
    ),
    "tier": (
        "It has fewer healthy hosts than in the stack file. Visitors may see nothing of it; the next failure may stop them.",
        "nospof status tells what is wrong, and journalctl on that host why. It takes part again once it is back.",
    ),
    "vip": (
        "Exactly one host must hold the address. With none nobody reaches the site; with two, some reach the wrong one.",
        "nospof status tells who holds it; journalctl -u keepalived on those hosts why.",
    ),
    "primary": (
        "Exactly one server must take writes. With none, every write waits or fails.",
        "nospof status tells of each server why it is not primary. If no database can take over by itself: nospof promote.",
    ),
    "copies": (
        "No replica that serves is a voter and up to date: if the primary is lost now, writes stop.",
        "nospof status tells of each replica what it lacks. One that was away catches up by itself.",
    ),
    "site": (
        "Asked as a visitor would, the site gave an error or no answer.",
        "nospof status tells which part is not well. After a release: nospof logs, nospof rollback.",
    ),
}
"""By the first word of the service: what it means, what to do."""


@dataclass(frozen=True)
class Notice:
    """One notification: `kind` and `state` in Nagios' words, e.g. PROBLEM and CRITICAL; `at` in seconds since the epoch."""

    at: float
    kind: str
    host: str
    service: str
    state: str
    says: str

    @property
    def is_over(self) -> bool:
        return self.kind == "RECOVERY"

    @property
    def is_critical(self) -> bool:
        return self.state in ("CRITICAL", "DOWN")


@dataclass(frozen=True)
class Told:
    """Who is told, and how; `smtp` is "host:port"."""

    emails: Sequence[str] = ()
    smtp: str = ""
    sender: str = ""
    smtp_user: str = ""
    smtp_password: str = field(default="", repr=False)
    smtp_tls: bool = True
    webhooks: Sequence[str] = field(default=(), repr=False)
    heartbeats: Sequence[str] = field(default=(), repr=False)


# --- what waits to be told -----------------------------------------------------------------------------------------------
def keep(folder: Path, notice: Notice) -> None:
    """Keep it for the next look. Raises OSError."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{notice.at:.6f}-{os.getpid()}.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(notice)))
    new.rename(path)


def kept(folder: Path, now: float) -> dict[Path, Notice]:
    """What waits, the oldest first; what is no notice, or too old for anybody, is removed."""
    found: dict[Path, Notice] = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: path.name)[-MOST_KEPT:]:
        try:
            notice = Notice(**json.loads(path.read_text()))
        except (OSError, TypeError, ValueError):
            path.unlink(missing_ok=True)
            continue
        if now - notice.at > STALE_S:
            path.unlink(missing_ok=True)
        else:
            found[path] = notice
    return found


def due(waiting: Sequence[Notice], is_anothers: bool, now: float) -> tuple[bool, list[Notice]]:
    """Whether all that waits is to be sent now, and what of it to forget, since another has told it. Pure."""
    if not waiting:
        return False, []
    if is_anothers:
        return False, [notice for notice in waiting if now - notice.at > TURN_S]
    return now - min(notice.at for notice in waiting) >= GATHER_S, []


# --- what it says --------------------------------------------------------------------------------------------------------
def subject(stack: str, notices: Sequence[Notice]) -> str:
    """One line that says the worst first. Pure."""
    firing = [notice for notice in notices if not notice.is_over]
    told = sorted(firing or notices, key=lambda notice: not notice.is_critical)
    count = f"{len(told)} alerts: " if len(told) > 1 else ""
    return f"[{stack}] {'' if firing else 'over: '}{count}{told[0].says}"


def text(stack: str, notices: Sequence[Notice]) -> str:
    """The whole mail: what lasts, the worst first, then what is over. Pure."""
    firing = sorted((notice for notice in notices if not notice.is_over), key=lambda notice: not notice.is_critical)
    over = [notice for notice in notices if notice.is_over]
    parts = [_firing(notice) for notice in firing] + [_over(notice) for notice in over]
    return "\n".join([*parts, f"Stack {stack}. How it is now: nospof status", ""])


def _firing(notice: Notice) -> str:
    means, do = TEXTS.get(notice.service.split(" ", 1)[0], ("", ""))
    kind = "" if notice.kind == "PROBLEM" else f"{notice.kind.lower()}: "
    lines = [f"{kind}{NAMES.get(notice.state, '')}{notice.says}", f"  since {_utc(notice.at)} ({_where(notice)})"]
    lines += [f"  What it means: {means}"] if means else []
    lines += [f"  What to do: {do}"] if do else []
    return "\n".join([*lines, ""])


def _over(notice: Notice) -> str:
    return f"over: {notice.says}\n  at {_utc(notice.at)} ({_where(notice)})\n"


def _where(notice: Notice) -> str:
    return f"{notice.host}: {notice.service}" if notice.service else notice.host


def _utc(at: float) -> str:
    return strftime("%Y-%m-%d %H:%M:%S UTC", gmtime(at))


# --- sending -------------------------------------------------------------------------------------------------------------
def send(told: Told, stack: str, notices: Sequence[Notice]) -> list[str]:
    """Tell everybody; returns for each way that did not work why, without addresses of URLs, which are secret."""
    failures = []
    if told.emails:
        try:
            _mail(told, subject(stack, notices), text(stack, notices))
        except (OSError, smtplib.SMTPException) as error:
            failures.append(f"mail server {told.smtp}: {error}")
    document = {"stack": stack, "alerts": [asdict(notice) for notice in notices]}
    failures += _called(told.webhooks, document, "webhook")
    return failures


def beat(told: Told) -> list[str]:
    """Give those outside a sign of life; returns what did not work."""
    return _called(told.heartbeats, {}, "heartbeat")


def _mail(told: Told, title: str, content: str) -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = title, told.sender, ", ".join(told.emails)
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=told.sender.rpartition("@")[2] or None)
    message.set_content(content)
    host, _, port = told.smtp.rpartition(":")
    with _connected(host, int(port)) as server:
        if told.smtp_tls and int(port) != ENCRYPTED_PORT:
            server.starttls(context=ssl.create_default_context())
        if told.smtp_user:
            server.login(told.smtp_user, told.smtp_password)
        server.send_message(message)


def _connected(host: str, port: int) -> smtplib.SMTP:
    """At one port servers encrypt from the first byte, at the others when they are asked to."""
    if port == ENCRYPTED_PORT:
        return smtplib.SMTP_SSL(host, port, timeout=LIMIT_S, context=ssl.create_default_context())
    return smtplib.SMTP(host, port, timeout=LIMIT_S)


def _called(urls: Sequence[str], document: Mapping[str, object], name: str) -> list[str]:
    failures = []
    for number, url in enumerate(urls, 1):
        try:
            post(url, document)
        except NotTaken as error:
            failures.append(f"{name} {number}: {error}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            # The error's own text may have the address in it.
            failures.append(f"{name} {number}: {type(error).__name__}")
    return failures


def told_of(entry: Mapping[str, object]) -> Told:
    """From the configuration. Raises TypeError for what it does not know."""
    return Told(**entry)  # type: ignore[arg-type]
