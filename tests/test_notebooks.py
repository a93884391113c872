"""Results in notebooks: the example is executed, and nothing draws before it is asked to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import rfcalc

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def cells(kind: str) -> list[Any]:
    """The cells of one kind as they are stored."""
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


@pytest.fixture(scope="module")
def executed() -> Any:
    """The outputs of each code cell, by its text."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    return {cell["source"]: cell["outputs"] for cell in notebook.cells if cell["cell_type"] == "code"}


def shown(executed: Any, start: str, kind: str = "text/html") -> str:
    """What the cell that begins so shows."""
    (outputs,) = [found for text, found in executed.items() if text.startswith(start)]
    (output,) = outputs
    return str(output["data"][kind])


# What Jupyter's own packages warn of is no concern here.
@pytest.mark.filterwarnings("default")
def test_the_example_runs_without_a_word_besides_its_results(executed: Any) -> None:
    kinds = {output["output_type"] for outputs in executed.values() for output in outputs}

    assert len(executed) == len(cells("code"))
    assert kinds == {"execute_result"}
    assert executed["import rfcalc"] == []


@pytest.mark.filterwarnings("default")
def test_results_draw_themselves(executed: Any) -> None:
    vgg, field = shown(executed, "vgg ="), shown(executed, "field =")

    assert vgg.count("<svg") == field.count("<svg") == 1
    assert "138,357,544" in vgg
    assert "pool5 212x212</text>" in vgg
    assert "exactly 0 at all" in field
    assert "44.9 % fewer" in shown(executed, "rfcalc.compare")
    assert "H·W·N" in shown(executed, "rfcalc.growth")
    assert shown(executed, "vgg.receptive_field", "text/plain") == "((0, 105), (22, 217))"
    assert shown(executed, "rfcalc.verify", "text/plain") == "True"


def test_the_example_is_stored_without_outputs_and_paths() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells("code"))
    assert not re.search(r"/(home|work|root|tmp|usr)/", NOTEBOOK.read_text(encoding="utf-8"))
    assert NOTEBOOK.stat().st_size < 10_000


def test_nothing_is_printed_at_construction(capsys: pytest.CaptureFixture[str]) -> None:
    results = [
        rfcalc.analyze("3x3"),
        rfcalc.compare(["3x3", "5x5"]),
        rfcalc.growth("3x3", symbols="H,W"),
        rfcalc.erf("3x3", images=1),
        rfcalc.verify("3x3", device="cpu", timing=False),
    ]
    shown = [result._repr_html_() for result in results]

    assert capsys.readouterr() == ("", "")
    assert all("<table" in text for text in shown)
    assert [type(result).__name__ in repr(result) for result in results] == [True] * 5
