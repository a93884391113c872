"""JUnit's XML, as GitLab, Jenkins and others read it: a test case for each model's lock and each of its limits."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from rfcalc.report.findings import Case, CheckReport

#: What XML 1.0 cannot hold, however it is written.
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: CheckReport) -> str:
    """One suite of all cases."""
    cases = report.cases
    counts = {
        "tests": len(cases),
        "failures": sum(bool(case.failure) for case in cases),
        "errors": sum(bool(case.error) for case in cases),
        "skipped": sum(bool(case.skipped) for case in cases),
    }
    numbers = " ".join(f'{key}="{value}"' for key, value in counts.items())
    body = "".join(_case(case) for case in cases)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites {numbers}>\n <testsuite name="rfcalc" {numbers}>\n{body} </testsuite>\n</testsuites>\n'
    )


def _case(case: Case) -> str:
    outcomes = (("failure", case.failure), ("error", case.error), ("skipped", case.skipped))
    inner = "".join(
        f"   <{tag} message={_attribute(text.partition(chr(10))[0])}>{escape(_clean(text))}</{tag}>\n"
        for tag, text in outcomes
        if text
    )
    head = f"  <testcase classname={_attribute(case.model)} name={_attribute(case.name)}"
    return f"{head}>\n{inner}  </testcase>\n" if inner else f"{head}/>\n"


def _attribute(text: str) -> str:
    return quoteattr(_clean(text), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
