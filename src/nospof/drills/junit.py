"""A proof as JUnit XML, for the servers that build and test: a test case is a drill, or a combination nobody settled.

What broke a promise, or was not as foretold, is a failure; what says nothing, or was not healed, is an error; unproven is skipped.
Nothing that is unknown is green.

Source: https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd
"""  # noqa: E501 - an address

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from nospof.drills.outcome import is_better_than_foretold, troubles
from nospof.drills.phrases import printable
from nospof.drills.result import Combination, Conclusion, DrillResult, Proof
from nospof.drills.words import sentences

KINDS = {
    Conclusion.NOT_HEALED: "error",
    Conclusion.FAILED: "failure",
    Conclusion.WRONG: "failure",
    Conclusion.INVALID: "error",
    Conclusion.UNKNOWN: "error",
}


def junit(proof: Proof) -> str:
    """Write `proof` as one XML document."""
    suites = [
        _suite(proof, "drills", [_drill(proof, drill) for drill in proof.drills]),
        _suite(proof, "combinations nobody settled", [_unproven(proof, one) for one in proof.unproven]),
    ]
    counts = {key: str(sum(int(suite.get(key, "0")) for suite in suites)) for key in ("tests", "failures", "errors")}
    root = Element("testsuites", {"name": printable(proof.stack), **counts, "time": _time(sum(map(_took_s, proof.drills)))})
    root.extend(suites)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(proof: Proof, name: str, cases: Sequence[Element]) -> Element:
    suite = Element("testsuite", {"name": printable(f"{proof.stack}: {name}"), "tests": str(len(cases))})
    for key, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(sum(case.find(kind) is not None for case in cases)))
    suite.set("time", _time(sum(float(case.get("time", "0")) for case in cases)))
    suite.set("timestamp", _timestamp(proof.began_at))
    properties = SubElement(suite, "properties")
    for key in ("nospof", "machine", "stack_sha256", "foretold_sha256"):
        SubElement(properties, "property", {"name": key, "value": printable(getattr(proof, key))})
    suite.extend(cases)
    return suite


def _drill(proof: Proof, drill: DrillResult) -> Element:
    kinds = "+".join(str(fault.get("fault", "")) for fault in drill.faults) or "drill"
    case = _case(f"{proof.stack}.{kinds}", drill.name, _took_s(drill))
    said = "\n".join(sentences(drill))
    kind = None if is_better_than_foretold(proof, drill) else KINDS.get(drill.conclusion)
    if kind:
        about = troubles(drill)
        message = f"{about[0].figure}: {about[0].says}" if about else drill.conclusion.value
        SubElement(case, kind, {"type": drill.conclusion.value, "message": printable(message)}).text = said
    SubElement(case, "system-out").text = said
    return case


def _unproven(proof: Proof, one: Combination) -> Element:
    case = _case(f"{proof.stack}.combination", " + ".join(one.parts), 0.0)
    SubElement(case, "skipped", {"message": printable(one.why or "unproven")})
    return case


def _case(classname: str, name: str, took_s: float) -> Element:
    return Element("testcase", {"classname": printable(classname), "name": printable(name), "time": _time(took_s)})


def _took_s(drill: DrillResult) -> float:
    return max(0.0, drill.ended_s) if math.isfinite(drill.ended_s) else 0.0


def _time(took_s: float) -> str:
    return f"{took_s:.3f}"


def _timestamp(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00"
