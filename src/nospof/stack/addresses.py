"""Checks of addresses, networks, VIPs and the domain: what would otherwise be noticed on the hosts only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, IPv6Interface

from nospof.stack.problems import Problems, Reference, Severity
from nospof.stack.words import found, listed, quoted

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ONLY_IPV4 = "nospof knows IPv4 only for now"


def check_host_addresses(hosts: Mapping[str, Mapping[str, object]], problems: Problems) -> dict[str, IPv4Address]:
    """Check that addresses are valid, distinct, and given for all hosts or for none; return the valid ones by host."""
    valid: dict[str, IPv4Address] = {}
    by_address: dict[IPv4Address, str] = {}
    for host, keys in hosts.items():
        text = keys.get("address")
        address = _address(text, f"hosts.{host}.address", problems) if isinstance(text, str) else None
        if address is None:
            continue
        valid[host] = address
        if address in by_address:
            what = f"the hosts {by_address[address]} and {host} have one address"
            why = "two servers cannot answer on one address, and one server twice is no redundancy"
            problems.add("S042", f"hosts.{host}.address", what, why=why, fix="give each host its own")
        by_address.setdefault(address, host)
    _check_all_or_none(hosts, problems)
    return valid


def check_vips(vips: Iterable[Reference], hosts: Mapping[str, IPv4Address], problems: Problems) -> None:
    """Check the form of VIPs, and that they are nobody's own address."""
    by_address = {address: host for host, address in reversed([*hosts.items()])}
    seen: set[IPv4Address] = set()
    for reference in vips:
        path = reference.path
        vip = _vip(reference.name, path, problems)
        if vip is None:
            continue
        if vip.ip in by_address:
            what = f"the VIP {vip.ip} is the address of the host {by_address[vip.ip]}"
            why = "a VIP moves between hosts; the address of a host stays with it"
            problems.add("S042", path, what, why=why, fix=f"choose a free address in {vip.network}")
        if vip.ip in seen:
            problems.add("S042", path, f"the VIP {vip.ip} stands twice", fix="remove one of the two")
        seen.add(vip.ip)


def network(text: str) -> IPv4Network | None:
    """The network that `text` means, a single address being one of /32; None = it is none."""
    try:
        return IPv4Network(text)
    except ValueError:
        return None


def check_network(reference: Reference, problems: Problems) -> None:
    """Check that this is a network of IPv4, without bits of a host in it."""
    path, text = reference.path, reference.name
    if network(text) is not None:
        return
    try:
        inside = IPv4Interface(text)
    except ValueError:
        if _is_ipv6(text):
            problems.add("S041", path, f"{quoted(text)} is a network of IPv6, and {_ONLY_IPV4}", fix="write one of IPv4")
        else:
            what = f"{quoted(text)} is not a network"
            problems.add("S045", path, what, fix="write it as a.b.c.d/nn, e.g. 198.51.100.0/24, or a single address")
        return
    what = f"{quoted(text)} is an address inside a network, not a network"
    fix = f"write {inside.network} for the whole network, or {inside.ip}/32 for this address alone"
    problems.add("S045", path, what, fix=fix)


def check_domain(domain: str, problems: Problems) -> None:
    """Check the form of a domain (RFC 1123), and say what was probably meant."""
    labels = domain.split(".")
    if all(_LABEL.fullmatch(label) for label in labels) and len(domain) <= 253 and not labels[-1].isdigit():
        return
    problems.add("S023", "domain", f"{found(domain)} is not a domain name", why=_DOMAIN_RULE, fix=_domain_fix(domain))


_DOMAIN_RULE = "a domain consists of parts of letters a-z, digits and hyphens, at most 63 characters each, with dots between"


def _domain_fix(domain: str) -> str:
    bare = re.sub(r"^[a-z]+://", "", domain.strip().lower()).split("/")[0].split(":")[0].strip(".").replace("_", "-")
    try:
        bare = bare.encode("idna").decode()
    except UnicodeError:
        return "write e.g. domain: shop.example.com"
    labels = bare.split(".")
    is_domain = all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
    return f"write domain: {bare}" if is_domain else "write e.g. domain: shop.example.com"


def _address(text: str, path: str, problems: Problems) -> IPv4Address | None:
    try:
        address = IPv4Address(text)
    except AddressValueError:
        _not_an_address(text, path, problems)
        return None
    if (reason := _unusable(address)) is not None:
        problems.add("S040", path, f"{address} is {reason}", fix="write the address under which the others reach this server")
        return None
    return address


def _not_an_address(text: str, path: str, problems: Problems) -> None:
    if _is_ipv6(text):
        fix = "write the server's IPv4 address"
        problems.add("S041", path, f"{quoted(text)} is an IPv6 address, and {_ONLY_IPV4}", fix=fix)
        return
    bare = text.split("/")[0]
    if "/" in text and _is_ipv4(bare):
        problems.add("S040", path, "a host's address has no prefix length", fix=f"write address: {bare}")
        return
    why = "names are not looked up: an answer of DNS that changes would change the stack"
    what = f"{quoted(text)} is not an IPv4 address: four numbers from 0 to 255 without leading zeros, with dots between"
    problems.add("S040", path, what, why=why if re.search("[A-Za-z]", text) else "", fix="write e.g. address: 192.0.2.11")


def _vip(text: str, path: str, problems: Problems) -> IPv4Interface | None:
    form = "write address and prefix length, e.g. vip: 203.0.113.10/24"
    try:
        vip = IPv4Interface(text)
    except ValueError:
        if _is_ipv6(text):
            problems.add("S041", path, f"{quoted(text)} is an IPv6 address, and {_ONLY_IPV4}", fix=form)
        else:
            problems.add("S044", path, f"{quoted(text)} is not an address with a prefix length", fix=form)
        return None
    if not re.fullmatch(r"[0-9.]+/[0-9]{1,2}", text):
        why = "without the length of its network a host could not answer to its neighbours"
        what = f"the prefix length of {vip.ip} is not written as a number" if "/" in text else f"{vip.ip} has no prefix length"
        problems.add("S044", path, what, why=why, fix=f"write {vip}" if "/" in text else f"write e.g. {vip.ip}/24")
        return None
    ends = (vip.network.network_address, vip.network.broadcast_address) if vip.network.prefixlen < 31 else ()
    reason = _unusable(vip.ip) or (
        f"the first or last address of {vip.network}, which no host may have" if vip.ip in ends else None
    )
    if reason is not None:
        problems.add("S044", path, f"{vip.ip} is {reason}", fix="choose a free address in the network of your load balancers")
        return None
    return vip


def _check_all_or_none(hosts: Mapping[str, Mapping[str, object]], problems: Problems) -> None:
    without = [host for host, keys in hosts.items() if "address" not in keys]
    if 0 < len(without) < len(hosts):
        what = f"{len(hosts) - len(without)} of {len(hosts)} hosts have an address; without: {listed(without)}"
        why = "a host without one is made in the lab, and the lab and real servers do not reach each other"
        fix = "give every host an address, or remove them all to use the lab"
        problems.add("S043", f"hosts.{without[0]}", what, why=why, fix=fix)
        return
    for host, keys in hosts.items() if without else ():
        for key in ("user", "port"):
            if key in keys:
                what = f"{key} is for SSH to a real server, but {host} is made in the lab"
                fix = "give it an address, or remove this key"
                problems.add("S046", f"hosts.{host}.{key}", what, fix=fix, severity=Severity.WARNING)


def _unusable(address: IPv4Address) -> str | None:
    if address.is_loopback:
        return "a loopback address, which is every host's own"
    if address.is_multicast:
        return "a multicast address, which belongs to no single host"
    if address.is_unspecified or address in IPv4Network("0.0.0.0/8"):
        return "no address that a host can have"
    return "reserved, so no host can have it" if address.is_reserved else None


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Interface(text)
    except ValueError:
        return False
    return True
