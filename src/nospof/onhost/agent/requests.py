"""What people ask of the agent, as changes of the cluster's state. Pure: each gives the new state, or says why not."""

from __future__ import annotations

from dataclasses import replace

from nospof.onhost.agent.decide import promoted_alone, why_not_near
from nospof.onhost.agent.model import Cause, Cluster, Handover, Observation, Promotion, Sync

LONGEST_PAUSE_S = 7 * 86_400.0


class Refusal(Exception):
    """The request cannot be granted now; the text says why."""


class NobodyFit(Refusal):
    """No other host could take over just now."""


def hand_over(o: Observation, to: str, name: str, objection: str) -> Cluster:
    """Begin to pass the primary role from this host to `to`, or with "" to the best voter.

    `objection`: what the server has against it just now; "" nothing. Raises Refusal.
    """
    c = _cluster(o)
    if c.primary != o.me:
        raise Refusal(f"{c.primary} is primary, not {o.me}")
    if c.handover or c.election:
        raise Refusal("a change of the primary is under way already")
    if c.sync is not Sync.OK or not c.voters:
        raise NobodyFit(f"no other copy is known to have every write (state {c.sync.value})")
    if to == o.me:
        raise Refusal(f"{to} is primary already")
    if to and to not in c.voters:
        raise Refusal(f"{to} is no voter now; voters are: {', '.join(sorted(c.voters))}")
    # Who is not near comes after who is, so that one sick voter keeps nobody else from taking over.
    chosen = to or min(
        c.voters, key=lambda node: (o.rules.is_witness(node), bool(why_not_near(o, node)), o.rules.order(node), node)
    )
    if o.rules.is_witness(chosen) and not to:
        raise NobodyFit("only a witness is left to hand over to; name it with --to if that is what you want")
    if far := why_not_near(o, chosen):
        raise NobodyFit(far)
    if objection:
        raise Refusal(objection)
    return replace(c, handover=Handover(chosen, name))


def accept_loss(o: Observation, by: str) -> Cluster:
    """Make this host primary with what it has, whatever others may have beyond. Raises Refusal.

    Where etcd lost its memory no server is started, so this one need not run: it starts once it is primary.
    """
    c, s = _cluster(o), o.server
    is_waiting = not c.primary and not s.is_running and s.has_data
    if not is_waiting and not (s.is_running and s.answers):
        raise Refusal(f"the server on {o.me} does not answer")
    if c.primary == o.me:
        raise Refusal(f"{o.me} is primary already")
    if c.sync is Sync.OK and s.source is not None and s.source.is_receiving and o.silent_s < o.rules.agree_s:
        raise Refusal(f"it hears {c.primary}, which is primary: a switchover loses nothing")
    if s.is_running and not s.is_drained:
        raise Refusal("it still applies what it received; ask again in a moment")
    position = s.applied if s.is_running else s.written
    return promoted_alone(o, Promotion(c.primary, position, Cause.ACCEPTED_LOSS, f"{by} accepted the loss"))


def pause(o: Observation, until_s: float, by: str) -> Cluster:
    """Promote nobody by itself until then (seconds since the epoch). Raises Refusal."""
    if until_s <= o.epoch_s:
        raise Refusal("a pause must end later than now")
    if until_s - o.epoch_s > LONGEST_PAUSE_S:
        raise Refusal(f"a pause of more than {LONGEST_PAUSE_S // 86_400:.0f} days is one that was forgotten")
    return replace(_cluster(o), paused_until=until_s, paused_by=by)


def resume(o: Observation) -> Cluster:
    """End a pause. Raises Refusal."""
    return replace(_cluster(o), paused_until=0.0, paused_by="")


def _cluster(o: Observation) -> Cluster:
    if o.cluster is None:
        raise Refusal("etcd was not reached yet")
    return o.cluster
