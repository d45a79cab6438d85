"""How many requests a second a stack answers: asked of its running instances, at fixed times, until they are late."""
