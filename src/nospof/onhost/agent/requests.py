"""What people ask of the agent, as changes of the cluster's state. Pure: each gives the new state, or says why not."""

from __future__ import annotations

from dataclasses import replace

from nospof.onhost.agent.decide import promoted_alone, why_not_near
from nospof.onhost.agent.model import Cause, Cluster, Handover, Observation, Promotion, Sync


class Refusal(Exception):
    """The request cannot be granted now; the text says why."""


def hand_over(o: Observation, to: str, name: str, objection: str) -> Cluster:
    """Begin to pass the primary role from this host to `to`, or with "" to the best voter.

    `objection`: what the server has against it just now; "" nothing. Raises Refusal.
    """
    c = _cluster(o)
    if c.primary != o.me:
        raise Refusal(f"{c.primary} is primary, not {o.me}")
    if c.handover or c.election:
        raise Refusal("a change of the primary is under way already")
    if c.sync is not Sync.OK:
        raise Refusal(f"no other copy is known to have every write (state {c.sync.value})")
    if to and to not in c.voters:
        raise Refusal(f"{to} is no voter now; voters are: {', '.join(sorted(c.voters))}")
    chosen = to or min(c.voters, key=lambda node: (o.rules.is_witness(node), node))
    if o.rules.is_witness(chosen) and not to:
        raise Refusal("only a witness is left to hand over to; name it with --to if that is what you want")
    if objection or (objection := why_not_near(o, chosen)):
        raise Refusal(objection)
    return replace(c, handover=Handover(chosen, name))


def accept_loss(o: Observation, by: str) -> Cluster:
    """Make this host primary with what it has, whatever others may have beyond. Raises Refusal."""
    c = _cluster(o)
    if not o.server.is_running or not o.server.answers:
        raise Refusal(f"the server on {o.me} does not answer")
    if c.primary == o.me:
        raise Refusal(f"{o.me} is primary already")
    if not o.server.is_drained:
        raise Refusal("it still applies what it received; ask again in a moment")
    return promoted_alone(o, Promotion(c.primary, o.server.applied, Cause.ACCEPTED_LOSS, f"{by} accepted the loss"))


def pause(o: Observation, until_s: float, by: str) -> Cluster:
    """Promote nobody by itself until then (seconds since the epoch)."""
    return replace(_cluster(o), paused_until=until_s, paused_by=by)


def resume(o: Observation) -> Cluster:
    """End a pause."""
    return replace(_cluster(o), paused_until=0.0, paused_by="")


def _cluster(o: Observation) -> Cluster:
    if o.cluster is None:
        raise Refusal("etcd was not reached yet")
    return o.cluster
