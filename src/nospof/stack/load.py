"""Load a stack file: read it, check each piece by itself, then the pieces together, and tell everything that is wrong at once.

The file alone is looked at, and the folders beside it that it names; what needs the components' declarations (ports, needs,
how many hosts a mode wants) is found by `resolve`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from nospof.stack import addresses, checks
from nospof.stack.checks import Draft
from nospof.stack.document import Document, read
from nospof.stack.keys import keys_of
from nospof.stack.model import Stack, StackHost, Tier
from nospof.stack.problems import Problems, StackProblems, in_order, references
from nospof.stack.schema import HostKeys, StackKeys, TierKeys
from nospof.stack.validate import check_keys, validated
from nospof.stack.words import correction, found, listed, quoted

Kinds = Mapping[str, type[BaseModel]]


def load(path: Path, kinds: Kinds) -> Stack:
    """Load the stack file at `path`; `kinds` has the settings of each component by its name.

    Raises StackProblems with everything that is wrong. What is odd but allowed is in `warnings` of the answer.
    """
    document = read(path)
    problems = document.problems
    hosts, tiers, options = (_mapping(document, key) for key in ("hosts", "tiers", "options"))
    meant = check_keys(document.top, keys_of(StackKeys), "", problems)
    keys = validated(StackKeys, document.top, "", problems, meant)
    host_keys = {name: _host(name, value, problems) for name, value in hosts.items()}
    drafts = {name: _draft(name, value, kinds) for name, value in tiers.items()}
    tier_keys = {name: _tier(draft, tiers[name], problems) for name, draft in drafts.items()}
    option_keys = {name: _option(name, value, kinds, problems) for name, value in options.items()}
    _check_together(document, drafts, kinds, path.parent)
    if problems.has_errors or keys is None:
        raise StackProblems(problems.found)
    return Stack(
        name=keys.name,
        domain=keys.domain,
        hosts=tuple(_stack_host(name, host) for name, host in host_keys.items() if host is not None),
        tiers=tuple(_stack_tier(name, *pair) for name, pair in tier_keys.items() if pair is not None),
        file=path,
        vip=keys.vip,
        admin=_networks(keys.admin),
        egress=None if keys.egress is None else _networks(keys.egress),
        has_firewall=keys.firewall,
        peak_qps=keys.peak_qps,
        options={name: option for name, option in option_keys.items() if option is not None},
        positions=document.positions,
        values=document.values,
        warnings=in_order(problems.found),
    )


def _mapping(document: Document, key: str) -> dict[str, object]:
    value = document.top.get(key)
    return value if isinstance(value, dict) else {}


def _host(name: str, value: object, problems: Problems) -> HostKeys | None:
    if value is not None and not isinstance(value, dict):
        what, fix = f"expected keys with values, found {found(value)}", f"write e.g. {name}: {{zone: a}}"
        problems.add("S013", f"hosts.{name}", what, fix=fix)
        return None
    keys = value or {}
    meant = check_keys(keys, keys_of(HostKeys), f"hosts.{name}", problems)
    return validated(HostKeys, keys, f"hosts.{name}", problems, meant)


def _draft(name: str, value: object, kinds: Kinds) -> Draft:
    keys = value if isinstance(value, dict) else {}
    component = keys.get("component")
    known = component if isinstance(component, str) else None
    return Draft(name, known, kinds.get(known) if known is not None else None, keys)


def _tier(draft: Draft, value: object, problems: Problems) -> tuple[TierKeys, BaseModel] | None:
    if not isinstance(value, dict) and value is not None:
        what = f"expected keys with values, found {found(value)}"
        problems.add("S013", draft.path, what, fix=f"write e.g. {draft.name}: {{component: nginx, hosts: [web1, web2]}}")
        return None
    meant: frozenset[str] = frozenset()
    if draft.settings is not None:
        meant = check_keys(draft.keys, [*keys_of(TierKeys), *keys_of(draft.settings)], draft.path, problems)
    common = validated(TierKeys, draft.keys, draft.path, problems, meant)
    settings = validated(draft.settings, draft.keys, draft.path, problems, meant) if draft.settings is not None else None
    return (common, settings) if common is not None and settings is not None else None


def _option(name: str, value: object, kinds: Kinds, problems: Problems) -> BaseModel | None:
    path = f"options.{name}"
    if name not in kinds:
        fix = correction(name, kinds, "the components are")
        problems.add("S031", path, f"there is no component {quoted(name)}", fix=fix)
        return None
    if not isinstance(value, dict):
        keys = list(keys_of(kinds[name]))
        fix = f"the keys here are: {listed(keys)}" if keys else "remove it: it has no settings"
        problems.add("S013", path, f"expected keys with values, found {found(value)}", fix=fix)
        return None
    meant = check_keys(value, keys_of(kinds[name]), path, problems)
    return validated(kinds[name], value, path, problems, meant)


def _check_together(document: Document, drafts: Mapping[str, Draft], kinds: Kinds, beside: Path) -> None:
    top, problems = document.top, document.problems
    hosts, tiers = (_mapping(document, key) for key in ("hosts", "tiers"))
    checks.check_names(top.get("name"), hosts, tiers, problems)
    checks.check_not_empty(top, problems)
    for draft in drafts.values():
        checks.check_component(draft, kinds, problems)
        checks.check_hosts_of(draft, hosts, problems)
    checks.check_calls(drafts, problems)
    for path, settings, keys in _with_settings(drafts, _mapping(document, "options"), kinds):
        checks.check_folders(settings, keys, path, beside, problems)
        checks.check_files(settings, keys, path, beside, problems)
    _check_addresses(top, hosts, problems)
    checks.check_unused(hosts, drafts, problems)


def _with_settings(
    drafts: Mapping[str, Draft], options: Mapping[str, object], kinds: Kinds
) -> Iterator[tuple[str, type[BaseModel], Mapping[str, object]]]:
    """Wherever settings of a component stand: the path, their class, and what was written."""
    for draft in drafts.values():
        if draft.settings is not None:
            yield draft.path, draft.settings, draft.keys
    for name, value in options.items():
        if name in kinds and isinstance(value, dict):
            yield f"options.{name}", kinds[name], value


def _check_addresses(top: Mapping[str, object], hosts: Mapping[str, object], problems: Problems) -> None:
    if isinstance(domain := top.get("domain"), str):
        addresses.check_domain(domain, problems)
    keys = {name: value if isinstance(value, dict) else {} for name, value in hosts.items()}
    by_host = addresses.check_host_addresses(keys, problems)
    addresses.check_vips(references(top.get("vip"), "vip"), by_host, problems)
    for key in ("admin", "egress"):
        for reference in references(top.get(key), key):
            addresses.check_network(reference, problems)


def _stack_host(name: str, keys: HostKeys) -> StackHost:
    return StackHost(name, keys.zone, keys.address, keys.user, keys.port)


def _stack_tier(name: str, keys: TierKeys, settings: BaseModel) -> Tier:
    return Tier(name, keys.component, keys.hosts, settings, keys.to, keys.spare, keys.qps_per_instance)


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(network) for text in texts if (network := addresses.network(text)) is not None)
