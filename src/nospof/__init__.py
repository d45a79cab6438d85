"""nospof: one file in, a redundant web stack on real hosts out, and the proof that it is redundant."""

__version__ = "0.1.0"
