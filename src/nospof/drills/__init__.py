"""Drills: break one thing under load, look whether the stack holds what it promises, heal, judge."""
