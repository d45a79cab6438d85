"""Workloads: what visitors do while something is broken. Each runs as a process of its own and writes down what it saw."""
