"""What a tier that watches says of who is told of alerts: the same keys, whatever watches."""

from __future__ import annotations

from typing import Annotated

from nospof import component as c

Email = Annotated[str, c.Field(pattern=r"^[^@\s,;<>]+@[A-Za-z0-9.-]+$")]
Url = Annotated[str, c.Field(pattern=r"^https?://[^\s]+$")]


class AlertKeys(c.Settings):
    """Who is told, and how."""

    email: Email | tuple[Email, ...] = c.Field(
        (), description="Address that gets a mail when something must not stay as it is, or a list."
    )
    smtp: str = c.Field(
        "", pattern=r"^([A-Za-z0-9.-]+:[0-9]{1,5})?$", description='Mail server that takes them, e.g. "mail.example.com:587".'
    )
    sender: str = c.Field(
        "", pattern=r"^([^@\s]+@[A-Za-z0-9.-]+)?$", description="Sender of the mails. Default: nospof@DOMAIN."
    )
    smtp_user: str = c.Field("", description="User at the mail server; without one, it must take mail from these hosts.")
    smtp_password: Annotated[str, c.Secret()] = c.Field("", description="Password of that user.")
    smtp_tls: c.Switch = c.Field(True, description="Give mail only to a server that encrypts the connection (STARTTLS).")
    webhook: Annotated[Url | tuple[Url, ...], c.Secret()] = c.Field(
        (), description="URL that gets a JSON document of the same alerts, or a list."
    )
    heartbeat: Annotated[Url | None, c.Secret()] = c.Field(
        None, description="URL outside that is called every two minutes while alerts would arrive, and raises its own when not."
    )


def delivery(told: AlertKeys | None) -> c.AlertDelivery | None:
    """Who is to be told; None: nobody."""
    if told is None or not (told.email or told.webhook):
        return None
    return c.AlertDelivery(
        emails=_several(told.email),
        smtp=told.smtp,
        sender=told.sender,
        smtp_user=told.smtp_user,
        smtp_password=told.smtp_password,
        smtp_tls=told.smtp_tls,
        webhooks=_several(told.webhook),
        heartbeats=(told.heartbeat,) if told.heartbeat else (),
    )


def objections(told: AlertKeys | None) -> tuple[c.Objection, ...]:
    """Mails without a server that takes them."""
    if told is None or not told.email or told.smtp:
        return ()
    what, why = "mails need a server that takes them", "hosts of the stack have no mail server of their own"
    return (c.Objection("S011", "alert", what, why, 'alert: {email: …, smtp: "mail.example.com:587"}'),)


def cautions(tier: str, told: AlertKeys | None, topology: c.Topology) -> tuple[c.Objection, ...]:
    """Nobody is told, or nobody would notice that nobody can be. One tier that tells is enough where several watch."""
    if delivery(told) is None and any(_tells(one) for one in topology.instances):
        return ()
    if delivery(told) is None:
        what = "alerts go nowhere: nobody is told of them"
        why = "the stack is measured, and whoever does not look at the figures learns of a failure from the visitors"
        fix = f'in tier {tier} alert: {{email: you@example.com, smtp: "mail.example.com:587"}}'
        return (c.Objection("F110", "alert", what, why, fix),)
    if told is not None and not told.heartbeat:
        what = "nobody outside notices when no alert can arrive any more"
        why = "when all that watches is lost, or has no way out, it is as quiet as when all is well"
        fix = f"in tier {tier} under alert heartbeat: URL   (of a service that tells you when it hears nothing)"
        return (c.Objection("F111", "alert", what, why, fix),)
    return ()


def _tells(one: c.Instance) -> bool:
    """Whether it tells people of what it or another notices."""
    delivers = any(isinstance(demand.need, c.AlertDelivery) for demand in one.demands)
    return delivers or c.Component.kinds[one.component](one).tells is not None


def _several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
