"""The agent beside a database server: it looks, decides and acts, so that the primary is replaced and no write is lost.

`decide` is pure and knows no database product; an engine (`engine.py`) speaks to one.
Words and rules: docs/decisions/0009-failover.md.
"""
