"""A Grafana dashboard of the stack, as the JSON that Grafana imports. Pure; the same stack gives the same bytes.

What is drawn of a tier its component says (`panels`); whether parts are healthy, and what they use, is known of every tier.
Rows go from the visitors down, the hosts are last. The data source is chosen in Grafana, so that the file fits any of them.

Limits: Grafana's classic model, which all of its versions read; nobody is told of anything from here, that is Alertmanager's.
Source: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/ (classic),
…/datasources/prometheus/annotations/ (a value that is a time is in milliseconds).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from nospof.component import RATE_WINDOW, Component, HostMetrics, Panel, Scale
from nospof.explain.layers import Layers
from nospof.explain.words import is_implied
from nospof.resolve import component_of
from nospof.topology import Instance, Topology

Json = dict[str, Any]
SOURCE: Json = {"type": "prometheus", "uid": "${source}"}
COLUMNS, PANEL_WIDTH, PANEL_HEIGHT, STAT_HEIGHT = 24, 8, 8, 4
# Grafana 10 and later; newer ones bring it up to date themselves.
SCHEMA = 39
GOOD, WEAK, BAD = "green", "orange", "red"


def dashboard(topology: Topology) -> str:
    """Write the dashboard of `topology` as JSON."""
    uid = hashlib.sha256(f"nospof {topology.stack}".encode()).hexdigest()[:16]
    made: Json = {
        "id": None,
        "uid": uid,
        "title": topology.stack,
        "description": f"Made by nospof from the stack file of {topology.stack} ({topology.domain}).",
        "tags": ["nospof"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "schemaVersion": SCHEMA,
        "version": 1,
        "templating": {"list": [_source_variable()]},
        "annotations": {"list": list(_annotations(topology))},
        "links": [],
        "panels": _placed(_rows(topology)),
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def expressions(topology: Topology, window: str = RATE_WINDOW) -> tuple[tuple[str, bool], ...]:
    """Every expression of the dashboard once, with `window` for the time of rates, and whether it may have no series."""
    rows = [panel for _, panels in _rows(topology) for panel in panels]
    found = {query: panel.can_be_empty for panel in rows for query, _ in panel.queries}
    found |= {marked["expr"]: True for marked in _annotations(topology) if "expr" in marked}
    return tuple((query.replace(RATE_WINDOW, window), is_open) for query, is_open in sorted(found.items()))


# --- what is drawn -------------------------------------------------------------------------------------------------------
def _rows(topology: Topology) -> list[tuple[str, tuple[Panel, ...]]]:
    """Row by row its title and panels. The first is of figures alone."""
    tiers = {one.id.tier: one for one in topology.instances}
    measuring = {name for name, one in tiers.items() if HostMetrics in Component.kinds[one.component].provides}
    order = Layers(topology).order
    declared = sorted((name for name, one in tiers.items() if not is_implied(one)), key=lambda name: (order[name], name))
    implied = sorted(name for name, one in tiers.items() if is_implied(one) and name not in measuring)
    rows = [("Now", _now())]
    rows += [(_title(tiers[name]), _of_tier(topology, tiers[name])) for name in [*declared, *implied]]
    return rows + [("Hosts", component_of(tiers[name]).panels(topology)) for name in sorted(measuring)]


def _title(one: Instance) -> str:
    return one.id.tier if one.id.tier == one.component else f"{one.id.tier} ({one.component})"


def _now() -> tuple[Panel, ...]:
    """What is read at a glance: how much is missing, 0 when all is well."""
    return (
        Panel("Parts that are not healthy", "Of all tiers.", (("count(nospof_instance_up == 0) or vector(0)", "parts"),)),
        Panel("Endpoints that do not answer", "Of all that tell figures.", (("count(up == 0) or vector(0)", "endpoints"),)),
        Panel(
            "Alerts",
            "That fire now.",
            (('count(ALERTS{alertstate="firing",alertname!="Watchdog"}) or vector(0)', "alerts"),),
        ),
    )


def _of_tier(topology: Topology, one: Instance) -> tuple[Panel, ...]:
    at = f'{{tier="{one.id.tier}"}}'
    used = f"sum by (host) (rate(nospof_instance_cpu_seconds_total{at}[{RATE_WINDOW}]))"
    healthy = Panel(
        "Healthy", "Whether it runs and answers as healthy.", ((f"nospof_instance_up{at}", "{{host}}"),), Scale.YES_OR_NO
    )
    return (
        healthy,
        *component_of(one).panels(topology),
        Panel("Processors", "How many processors its processes use.", ((used, "{{host}}"),)),
        Panel(
            "Memory of its processes",
            "With the files that the kernel keeps for them.",
            ((f"nospof_instance_memory_bytes{at}", "{{host}}"),),
            Scale.BYTES,
            can_be_empty=True,  # not every kernel counts it
        ),
    )


def _annotations(topology: Topology) -> Iterator[Json]:
    """What is marked in all drawings: changes of a primary, and what people are told of."""
    yield {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "blue",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }
    marked = {"datasource": SOURCE, "enable": True, "step": "10s"}
    if any(component_of(one).asks_agent for one in topology.instances):
        yield {
            **marked,
            "name": "Changes of a primary",
            "iconColor": WEAK,
            "expr": "max by (tier, from, to, cause) (nospof_database_replaced_at_seconds) * 1000",
            "titleFormat": "{{tier}}: {{from}} to {{to}}",
            "textFormat": "{{cause}}",
            "useValueForTime": True,
        }
    yield {
        **marked,
        "name": "Alerts",
        "iconColor": BAD,
        "expr": 'max by (alertname, severity, tier, host) (ALERTS{alertstate="firing",alertname!="Watchdog"})',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{tier}} {{host}}",
        "tagKeys": "severity",
        "useValueForTime": False,
    }


# --- where it stands -----------------------------------------------------------------------------------------------------
def _placed(rows: Iterable[tuple[str, tuple[Panel, ...]]]) -> list[Json]:
    """Rows below each other, three panels beside each other; each has a number of its own."""
    found: list[Json] = []
    below = 0
    for title, panels in rows:
        found.append({
            "id": len(found) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": below},
        })  # fmt: skip
        below += 1
        height = STAT_HEIGHT if title == "Now" else PANEL_HEIGHT
        for number, panel in enumerate(panels):
            column, line = number % (COLUMNS // PANEL_WIDTH), number // (COLUMNS // PANEL_WIDTH)
            place = {"h": height, "w": PANEL_WIDTH, "x": column * PANEL_WIDTH, "y": below + line * height}
            drawn = _stat(panel) if title == "Now" else _drawn(panel)
            found.append({"id": len(found) + 1, "gridPos": place, **drawn})
        below += height * -(-len(panels) // (COLUMNS // PANEL_WIDTH))
    return found


def _common(panel: Panel, *, is_now: bool) -> Json:
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": query,
            "legendFormat": legend,
            "instant": is_now,
            "range": not is_now,
        }
        for number, (query, legend) in enumerate(panel.queries)
    ]
    return {"title": panel.title, "description": panel.about, "datasource": SOURCE, "targets": targets}


def _stat(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.scale.value, "thresholds": _steps((None, GOOD), (1, BAD)), "mappings": []}
    options: Json = {
        "colorMode": "background",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value",
    }
    return {
        "type": "stat",
        **_common(panel, is_now=True),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def _drawn(panel: Panel) -> Json:
    return _band(panel) if panel.scale is Scale.YES_OR_NO else _lines(panel)


def _band(panel: Panel) -> Json:
    words: Json = {"0": {"text": "no", "index": 0}, "1": {"text": "yes", "index": 1}}
    defaults: Json = {
        "color": {"mode": "thresholds"},
        "custom": {"fillOpacity": 80, "lineWidth": 0, "spanNulls": False},
        "mappings": [{"type": "value", "options": words}],
        "thresholds": _steps((None, BAD if panel.title == "Healthy" else "text"), (1, GOOD)),
    }
    options: Json = {
        "alignValue": "left",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "never",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return {
        "type": "state-timeline",
        **_common(panel, is_now=False),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def _lines(panel: Panel) -> Json:
    steps = [(None, GOOD)] if panel.limit is None else [(None, GOOD), (panel.limit, BAD)]
    defaults: Json = {
        "unit": panel.scale.value,
        "min": 0,
        "color": {"mode": "palette-classic"},
        "custom": {
            "drawStyle": "line",
            "fillOpacity": 10,
            "lineWidth": 1,
            "showPoints": "never",
            "spanNulls": False,
            "thresholdsStyle": {"mode": "off" if panel.limit is None else "line"},
        },
        "thresholds": _steps(*steps),
    }
    options: Json = {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return {
        "type": "timeseries",
        **_common(panel, is_now=False),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def _steps(*steps: tuple[float | None, str]) -> Json:
    return {"mode": "absolute", "steps": [{"color": colour, "value": value} for value, colour in steps]}


def _source_variable() -> Json:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1}
