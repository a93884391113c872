"""The pytest plugin: a model in a test, against the lock and a budget.

::

    @pytest.mark.rfcalc(max_macs="1G")
    def test_cost(rfcalc_check):
        rfcalc_check(Net(), (3, 64, 64), name="net")

Loaded in every session of pytest, so nothing else is imported until a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rfcalc.baseline.budgets import Limit, Watched
    from rfcalc.baseline.check import Checked
    from rfcalc.baseline.streams import Flow

_MARKER = "rfcalc(**limits): the budget of the models that rfcalc_check is given, as in [tool.rfcalc]: max_macs='1G'"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--rfcalc-update``, ``--rfcalc-lock``."""
    group = parser.getgroup("rfcalc")
    group.addoption(
        "--rfcalc-update", action="store_true", help="Write the models of rfcalc_check to the lock as they are."
    )
    group.addoption(
        "--rfcalc-lock", metavar="FILE", help="The lock of rfcalc_check; default: that of [tool.rfcalc] in the rootdir."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def rfcalc_check(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """``rfcalc_check(model, input_shape, name=...)``: fails as an assertion if the model is not as locked.

    The arguments are those of `rfcalc.trace`; ``name`` is that of the entry, by default the test's. Limits come from
    the marker ``rfcalc`` and hold whether there is a lock or not. Returns the `rfcalc.Analysis`.
    """
    limits, settings = _limits(request.node)
    path = _lock(request.config)
    update = bool(request.config.getoption("--rfcalc-update"))
    calls = count(1)

    def check(model: Any, inputs: Any = None, *, name: str | None = None, **given: Any) -> Any:
        __tracebackhide__ = True
        from rfcalc import api
        from rfcalc.analyses.analysis import Analysis
        from rfcalc.baseline.budgets import FOOTPRINT, Watched
        from rfcalc.baseline.streams import Flow

        graph = api.layer_graph(model, inputs, **given)
        watched = Watched(name or _name(request.node, next(calls)), "", limits=limits, **settings)
        flow = Flow(watched, graph, lambda shapes: api.layer_graph(model, shapes, **given))
        asked = [limit.key for limit in limits if limit.key in FOOTPRINT]
        footprint = api.footprint(
            model, inputs, asked, axes=given.get("axes"), training=bool(given.get("training", False))
        )
        found = _checked(path, watched, graph, flow, footprint, update)
        if found.differs or any(item.ok is not True for item in found.held):
            pytest.fail(_message(found), pytrace=False)
        return Analysis(graph)

    return check


def _name(node: Any, call: int) -> str:
    """The test's name, and the number of a further call in it."""
    return str(node.nodeid) if call == 1 else f"{node.nodeid}#{call}"


def _limits(node: Any) -> tuple[tuple[Limit, ...], dict[str, Any]]:
    """The limits of the marker, a nearer one before, and what it says of the stream: ``rate``, ``time`` and so on."""
    given: dict[str, Any] = {}
    for marker in node.iter_markers("rfcalc"):
        if marker.args:
            pytest.fail(f"@pytest.mark.rfcalc takes limits by name, max_macs='1G', not {marker.args[0]!r}", False)
        given = {**marker.kwargs, **given}
    if not given:
        return (), {}
    from rfcalc.baseline import units
    from rfcalc.baseline.budgets import limit
    from rfcalc.errors import UsageError

    try:
        settings: dict[str, Any] = {key: given.pop(key) for key in ("rate", "time", "stream", "align") if key in given}
        if "rate" in settings:
            settings["rate"] = units.rate(settings["rate"], "@pytest.mark.rfcalc: rate")
        return tuple(limit(key, value, "@pytest.mark.rfcalc") for key, value in sorted(given.items())), settings
    except UsageError as error:
        pytest.fail(str(error), pytrace=False)


def _lock(config: pytest.Config) -> Path:
    """The lock's file."""
    given = config.getoption("--rfcalc-lock")
    if given:
        return Path(str(given)).absolute()
    from rfcalc.baseline import budgets
    from rfcalc.baseline.lockfile import NAME

    configuration = budgets.if_any(config.rootpath / "pyproject.toml")
    return (configuration.lock if configuration is not None else None) or config.rootpath / NAME


def _checked(path: Path, watched: Watched, graph: Any, flow: Flow, footprint: dict[str, Any], update: bool) -> Checked:
    """The model against the lock and its limits, the lock written if that is asked for and the limits hold."""
    from dataclasses import replace

    from rfcalc.baseline import check, lockfile
    from rfcalc.baseline.record import entry_of
    from rfcalc.errors import RfcalcError

    try:
        try:
            lock = lockfile.read(path)
        except lockfile.NoLockError:
            lock = lockfile.Lock()
        before = lock.models.get(watched.name)
        entry = entry_of(graph, watched.name, before.model if before is not None else None)
        (found,) = check.check(
            [watched], lock, lambda item: replace(entry, flow=flow, footprint=footprint), whole=False
        )
        if found.error:
            pytest.fail(found.error, pytrace=False)
        if update and found.differs and not found.over:
            lockfile.update(path, lambda lock: check.accepting(lock, [found]))
            return replace(found, accepted=True)
        return found
    except RfcalcError as error:
        pytest.fail(str(error), pytrace=False)


def _message(found: Checked) -> str:
    """What a failing test prints: the tables of the check, and what to do."""
    from rfcalc.report.changes import changes_report
    from rfcalc.report.formats import render_check

    text = render_check(changes_report([found], rows=10))
    advice = "pytest --rfcalc-update accepts what changed" if found.differs and not found.over else ""
    return f"{text}\n{advice}".rstrip()
