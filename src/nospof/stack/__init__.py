"""The stack file: what may stand in it, and reading it with every error at once."""
