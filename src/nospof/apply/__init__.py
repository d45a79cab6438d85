"""From manifests to hosts that are so: state beside the stack file, sealing, trips, plan, rollout."""
