"""A whole tier in one process: the real `decide` and `remember`, on simulated servers, network, etcd and clocks, under faults.

The same seed gives the same history, so that a violation can be shrunk to the few faults that cause it.
Run it: `python -m tests.simulation --seconds 60 --seed 1`.

What the world knows of MariaDB is in server.py; the invariants are in invariants.py; what breaks is in faults.py.
"""
