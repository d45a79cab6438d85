"""Telling people what happened to the cluster: a webhook (HTTP POST of JSON) and mail, from a thread that holds nobody up.

One host tells: the primary, which after a failover is the new one; of an election that came to nothing, whoever opened it.
Limits: what is still to be told is lost when the agent ends; mail is handed to a relay that wants no password. What the
webhook's address holds may be a secret, so it is never logged.
"""

from __future__ import annotations

import http.client
import json
import logging
import queue
import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from enum import Enum
from urllib.parse import urlsplit

from nospof.onhost.agent.model import Cause, Cluster, Rules, Sync

LIMIT_S = 5.0
# Tried again after so many seconds; a person who is told a quarter of an hour late looks by himself.
AGAIN_AFTER_S = (1.0, 4.0, 15.0, 60.0)
MOST_WAITING = 100

log = logging.getLogger("nospof.hooks")


Document = Mapping[str, object]


class Kind(Enum):
    """What happened."""

    FAILOVER = "failover"
    HANDOVER = "handover"
    LOSS_ACCEPTED = "loss-accepted"
    RESTARTED = "restarted"
    IN_VAIN = "election-in-vain"
    DEGRADED = "degraded"
    REDUNDANCY_LOST = "redundancy-lost"
    REDUNDANCY_RESTORED = "redundancy-restored"
    PAUSED = "paused"
    RESUMED = "resumed"
    TWO_HISTORIES = "two-histories"


@dataclass(frozen=True)
class Event:
    """Something that people want to hear of; `text` is one sentence."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Notify:
    """Where to tell it. None: nowhere. `smtp`: host and port of the relay."""

    webhook: str | None = None
    mail: str | None = None
    smtp: tuple[str, int] = ("localhost", 25)

    @classmethod
    def read(cls, told: Mapping[str, str | None]) -> Notify:
        """From {"webhook": URL | null, "mail": address | null, "smtp": "host:port"}. Raises ValueError."""
        host, _, port = (told.get("smtp") or "localhost:25").partition(":")
        webhook = told.get("webhook") or None
        if webhook and urlsplit(webhook).scheme not in ("http", "https"):
            raise ValueError("notify_webhook must begin with http:// or https://")
        return cls(webhook, told.get("mail") or None, (host, int(port or 25)))


@dataclass(frozen=True)
class Site:
    """Who tells."""

    stack: str
    tier: str
    me: str


# --- what happened, pure -------------------------------------------------------------------------------------------------
def events(before: Cluster | None, after: Cluster, rules: Rules) -> tuple[Event, ...]:
    """Say what happened between two states of the cluster, most important first; nothing where there was none before."""
    if before is None or not before.primary or before.revision >= after.revision:
        return ()
    told = (
        _of_primary(before, after),
        _of_sync(before, after, rules),
        _of_voters(before, after, rules),
        _of_pause(before, after),
    )
    return tuple(event for event in told if event is not None)


def two_histories(cluster: Cluster) -> Event:
    """Nobody can be promoted, and only a person can say whose data counts."""
    text = (
        f"two voters ({_listed(cluster)}) have different histories of {cluster.primary}: nobody is promoted. "
        "Compare their data, then: nospof promote STACK HOST --accept-loss"
    )
    return Event(Kind.TWO_HISTORIES, text)


def teller(before: Cluster | None, after: Cluster, kind: Kind) -> str:
    """Which host tells of it."""
    election = after.election or (before.election if before is not None else None)
    return election.by if kind in (Kind.IN_VAIN, Kind.TWO_HISTORIES) and election is not None else after.primary


def _of_primary(before: Cluster, after: Cluster) -> Event | None:
    if after.primary != before.primary:
        return _of_new_primary(before, after)
    if after.term != before.term:
        return Event(Kind.RESTARTED, f"{after.primary} is primary again after its server ended; no other host took over")
    if before.election is not None and after.election is None:
        text = f"{after.primary} was to be replaced ({before.election.why}), and nobody took over; look at nospof status"
        return Event(Kind.IN_VAIN, text)
    return None


def _of_new_primary(before: Cluster, after: Cluster) -> Event:
    change = f"{after.primary} is primary now, before it was {before.primary}"
    if after.last.cause is Cause.HANDOVER:
        return Event(Kind.HANDOVER, f"{change}: handed over as planned, no write was lost")
    if after.last.cause is Cause.ACCEPTED_LOSS:
        return Event(Kind.LOSS_ACCEPTED, f"{change}: {after.last.why}, so writes may be lost")
    return Event(Kind.FAILOVER, f"{change}: {after.last.why}. No acknowledged write was lost")


def _of_sync(before: Cluster, after: Cluster, rules: Rules) -> Event | None:
    if after.sync is not Sync.DEGRADED or before.sync is Sync.DEGRADED:
        return None
    does = "takes writes alone" if after.is_new or rules.mode.value == "available" else "takes no writes until a copy is back"
    return Event(Kind.DEGRADED, f"no copy acknowledges the writes of {after.primary} any more: it {does}")


def _of_voters(before: Cluster, after: Cluster, rules: Rules) -> Event | None:
    """Only full redundancy is told as restored, and only when it was not full."""
    full = min(rules.most_voters, len(rules.members) - 1)
    had, has = _copies(before), _copies(after)
    if has == had or full == 0:
        return None
    if has == full:
        text = f"each write of {after.primary} is acknowledged by {_listed(after)}: redundancy is restored"
        return Event(Kind.REDUNDANCY_RESTORED, text)
    if has < had and after.sync is Sync.OK:
        text = f"the writes of {after.primary} are acknowledged by {_listed(after)} only: the next loss may stop writing"
        return Event(Kind.REDUNDANCY_LOST, text)
    return None


def _of_pause(before: Cluster, after: Cluster) -> Event | None:
    if after.paused_until == before.paused_until:
        return None
    if not after.paused_until:
        return Event(Kind.RESUMED, "the pause is ended: a lost primary is replaced by itself again")
    until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(after.paused_until))
    return Event(Kind.PAUSED, f"nobody takes over by itself until {until}: paused by {after.paused_by}")


def _copies(cluster: Cluster) -> int:
    """How many hosts acknowledge writes and have everything."""
    return len(cluster.voters) if cluster.sync is Sync.OK else 0


def _listed(cluster: Cluster) -> str:
    return " and ".join(sorted(cluster.voters)) or "nobody"


# --- telling it ----------------------------------------------------------------------------------------------------------
class Hooks:
    """Tells events. `see` and `tell` never wait."""

    def __init__(self, notify: Notify, site: Site, again_after_s: tuple[float, ...] = AGAIN_AFTER_S) -> None:
        self.site = site
        self._channels: list[Channel] = []
        if notify.webhook:
            url = notify.webhook
            self._channels.append(Channel("webhook", lambda told: post(url, told), again_after_s))
        if notify.mail:
            self._channels.append(Channel("mail", lambda told: send_mail(notify, site, told), again_after_s))
        self._last_rule = ""
        self._last_in_vain: tuple[str, int] = ("", -1)

    def start(self, stop: threading.Event) -> None:
        """Begin to tell, in a thread for each way, until `stop`."""
        for channel in self._channels:
            threading.Thread(target=channel.work, args=(stop,), daemon=True).start()

    def see(self, before: Cluster | None, after: Cluster | None, rules: Rules, rule: str = "") -> None:
        """Tell what happened between two states, if this host is the one to tell. `rule`: what the agent just decided by."""
        if after is None:
            return
        found = list(events(before, after, rules))
        if rule == "stops_at_two_histories" and rule != self._last_rule:
            found.append(two_histories(after))
        self._last_rule = rule
        for event in found:
            if teller(before, after, event.kind) == self.site.me and not self._is_repeated(event, after):
                self.tell(event, after)

    def tell(self, event: Event, cluster: Cluster) -> None:
        """Have it told, over every way there is."""
        log.warning("%s: %s", event.kind.value, event.text)
        for channel in self._channels:
            channel.add(_document(self.site, event, cluster, time.time()))

    def _is_repeated(self, event: Event, after: Cluster) -> bool:
        """Elections in vain are opened again every few seconds; people hear of the first."""
        if event.kind is not Kind.IN_VAIN:
            return False
        this = (after.primary, after.term)
        is_repeated, self._last_in_vain = this == self._last_in_vain, this
        return is_repeated


class Channel:
    """One way to people, with a queue and a thread of its own, so that one that is dead delays no other."""

    def __init__(self, name: str, send: Callable[[Document], None], again_after_s: tuple[float, ...]) -> None:
        self._name, self._send, self._again_after_s = name, send, again_after_s
        self._waiting: queue.Queue[Document] = queue.Queue(MOST_WAITING)

    def add(self, document: Document) -> None:
        """Have it sent; with a hundred waiting it is left out."""
        try:
            self._waiting.put_nowait(document)
        except queue.Full:
            log.error("%s: %d messages wait already; not told: %s", self._name, MOST_WAITING, document["event"])

    def work(self, stop: threading.Event) -> None:
        """Send what waits, one after the other, until `stop`."""
        while not stop.is_set():
            try:
                document = self._waiting.get(timeout=0.5)
            except queue.Empty:
                continue
            self._until_sent(document, stop)

    def _until_sent(self, document: Document, stop: threading.Event) -> None:
        for pause_s in (*self._again_after_s, 0.0):
            try:
                self._send(document)
                return
            except (OSError, http.client.HTTPException, smtplib.SMTPException, ValueError, NotTaken) as error:
                # Its own words may hold the address.
                said = str(error) if isinstance(error, NotTaken) else type(error).__name__
                log.warning("%s: not taken: %s", self._name, said)
            if stop.wait(pause_s):
                return
        log.error("%s: given up, not told: %s", self._name, document["event"])


class NotTaken(Exception):
    """The receiver answered that it did not take it."""


def post(url: str, document: Document) -> None:
    """POST `document` as JSON; follows no redirect and uses no proxy. Raises NotTaken, OSError or HTTPException."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=LIMIT_S, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=LIMIT_S)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, json.dumps(document).encode(), {"Content-Type": "application/json"})
        status = connection.getresponse().status
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise NotTaken(f"HTTP {status}")


def send_mail(notify: Notify, site: Site, document: Document) -> None:
    """Hand a mail to the relay. Raises OSError or SMTPException."""
    message = EmailMessage()
    message["From"] = f"nospof@{site.me}"
    message["To"] = notify.mail or ""
    message["Subject"] = f"[{site.stack}/{site.tier}] {document['event']}: primary is {document['primary']}"
    lines = [str(document["text"]), "", *(f"{name}: {value}" for name, value in document.items() if name not in ("text",))]
    message.set_content("\n".join(lines) + "\n")
    with smtplib.SMTP(*notify.smtp, timeout=LIMIT_S) as relay:
        relay.send_message(message)


def _document(site: Site, event: Event, cluster: Cluster, at: float) -> Document:
    return {
        "event": event.kind.value,
        "text": event.text,
        "stack": site.stack,
        "tier": site.tier,
        "told_by": site.me,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)),
        "primary": cluster.primary,
        "term": cluster.term,
        "sync": cluster.sync.value,
        "voters": sorted(cluster.voters),
    }
