"""Acronyms a design document uses, each in a sentence; only those that occur are explained."""

from __future__ import annotations

import re

MEANINGS = {
    "ACID": "atomic, consistent, isolated, durable: what a database promises of a transaction.",
    "ARP": "Address Resolution Protocol: how a machine finds who in its network has an IP address.",
    "CA": "certificate authority: who signs certificates. The stack has one of its own.",
    "DNS": "Domain Name System: leads from a name to an IP address.",
    "HTTP": "Hypertext Transfer Protocol: how browsers and servers talk, and these servers among themselves.",
    "HTTPS": "HTTP inside TLS: nobody on the way can read or change it.",
    "IP": "Internet Protocol: how packets find their way to an address.",
    "LAMP": "Linux, Apache, MySQL, PHP: the classic web stack on one server.",
    "PSGI": "Perl Web Server Gateway Interface: how Perl web applications are called.",
    "QPS": "queries per second: how many requests a stack answers in a second.",
    "SPOF": "single point of failure: one part whose loss takes the whole away.",
    "SQL": "Structured Query Language: how databases are asked.",
    "SSH": "Secure Shell: how administrators reach a host.",
    "TCP": "Transmission Control Protocol: a connection in which nothing is lost or out of order.",
    "TLS": "Transport Layer Security: encryption of a connection, with proof of who is at the other end; mutual: at both ends.",
    "UDP": "User Datagram Protocol: single packets, without a connection.",
    "VIP": "virtual IP address: one that belongs to no host for good and moves to one that is alive.",
    "VRRP": "Virtual Router Redundancy Protocol: how hosts agree on who holds a VIP.",
    "WSGI": "Web Server Gateway Interface: how Python web applications are called.",
}


def glossary(text: str) -> list[tuple[str, str]]:
    """The acronyms in `text` with their meanings, sorted, and those that these meanings use."""
    found: set[str] = set()
    wanted = _acronyms(text)
    while wanted - found:
        found |= wanted
        wanted = {other for one in found for other in _acronyms(MEANINGS[one])}
    return [(one, MEANINGS[one]) for one in sorted(found)]


def _acronyms(text: str) -> set[str]:
    return set(re.findall(r"[A-Z]{2,}", text)) & set(MEANINGS)
