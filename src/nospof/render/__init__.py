"""Topology → what every host must have. Pure: same input, same bytes."""
