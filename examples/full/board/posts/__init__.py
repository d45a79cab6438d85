"""Notices, and those who write them."""
