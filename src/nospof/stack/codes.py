"""Every S-code: what about the stack file is wrong. The reference page of the docs is made from this table.

Codes are never given to something else later: people search for them. F-codes (findings: allowed, but unsafe) are
elsewhere. S001–S009 the file, S010–S019 keys and values, S020–S029 names, S030–S039 tiers and hosts, S040–S049 addresses;
S301–S399 what only `resolve` can see.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    "S001": "The stack file cannot be read: it is missing, a folder, or not ours to read.",
    "S002": "The stack file is not text in UTF-8, or larger than 1 MiB.",
    "S003": "The stack file is not YAML.",
    "S004": "A key stands twice in one mapping.",
    "S005": "The stack file uses something of YAML that a stack does not need.",
    "S006": "The stack file is empty, or does not consist of keys with values.",
    "S010": "There is no such key.",
    "S011": "A key is missing.",
    "S012": "The tier does not have the hosts that its mode needs.",
    "S013": "A value is of the wrong type.",
    "S014": "A value is out of range.",
    "S015": "A value is none of those that are allowed.",
    "S016": "A value does not have the right form.",
    "S017": "A key has no value.",
    "S020": "A name cannot be the name of a host or of a unit.",
    "S021": "A name is reserved.",
    "S022": "A host and a tier have one name.",
    "S023": "The domain is not a domain name.",
    "S030": "There is no host, or no tier, or a tier without a host.",
    "S031": "There is no such component.",
    "S032": "There is no such host.",
    "S033": "There is no such tier.",
    "S034": "A list names something twice.",
    "S035": "A host has two places in one tier.",
    "S036": "A tier calls itself.",
    "S037": "Tiers call each other in a circle.",
    "S038": "No tier uses the host (a warning).",
    "S039": "A folder is missing.",
    "S040": "An address is not an IPv4 address.",
    "S041": "An address is an IPv6 address, and nospof knows IPv4 only for now.",
    "S042": "An address stands twice.",
    "S043": "Some hosts have an address and others do not.",
    "S044": "A VIP is not of the form a.b.c.d/nn, or cannot be used.",
    "S045": "A network is not of the form a.b.c.d/nn.",
    "S046": "SSH is configured for a host that has no address (a warning).",
    "S047": "A file that a tier names is not in its folder (a warning).",
}
"""What each code means, in one sentence."""

RESOLVE_CODES: dict[str, str] = {
    "S301": "There are fewer VIPs than the stack needs.",
    "S302": "A component needs what no component provides.",
    "S303": "A tier calls another with which it has no protocol in common.",
    "S304": "A host would run a component more often than it can.",
    "S305": "Two daemons of one host would listen on the same port.",
    "S306": "A tier is called from a host where it is not, and can be called on its own hosts only.",
    "S307": "There are more VIPs than the stack needs.",
}
"""The same for what `resolve` finds once it knows the components."""
