"""Where the code is: annotations of a check stand at the model's lines, and the code is shown with what it costs."""

from __future__ import annotations

import json

NET = ("net.py:Net", "--input", "3x16x16")


def line(folder, text: str) -> int:
    """The number of the first line of net.py that holds the text."""
    lines = (folder / "net.py").read_text().splitlines()
    return next(number for number, one in enumerate(lines, 1) if text in one)


def test_a_check_is_annotated_at_the_line_that_calls_what_changed(run, folder):
    (folder / "pyproject.toml").write_text(
        '[tool.rfcalc]\n[[tool.rfcalc.models]]\nname = "net"\nmodel = "net.py:Net"\ninput = "3x16x16"\n'
    )
    assert run("lock").exit_code == 0
    assert "place" not in (folder / "rfcalc.lock.json").read_text()
    code = (folder / "net.py").read_text().replace("nn.Linear(width, 10)", "nn.Linear(width, 20)")
    (folder / "net.py").write_text(code)
    result = run("check", "--format", "github")
    assert result.exit_code == 1
    first = next(line for line in result.output.splitlines() if line.startswith("::"))
    at = line(folder, "return self.head")
    assert first.startswith(f"::error file=net.py,line={at},title=net changed::whole model")


def test_two_lines_have_an_annotation_each(run, folder):
    (folder / "pyproject.toml").write_text(
        '[tool.rfcalc]\n[[tool.rfcalc.models]]\nname = "net"\nmodel = "net.py:Net"\ninput = "3x16x16"\n'
    )
    run("lock")
    code = (folder / "net.py").read_text().replace("nn.Linear(width, 10)", "nn.Linear(width, 20)")
    wider = code.replace("Conv2d(width, width, 3, padding=1)", "Conv2d(width, width, 5, padding=2)")
    (folder / "net.py").write_text(wider)
    lines = [one for one in run("check", "--format", "github").output.splitlines() if one.startswith("::")]
    places = [one.split(",title")[0] for one in lines]
    assert places == [
        f"::error file=net.py,line={line(folder, 'self.conv(x)).relu()')}",
        f"::error file=net.py,line={line(folder, 'return self.head')}",
    ]


def test_the_code_with_what_its_lines_see_and_cost(run, folder):
    result = run(*NET, "--source")

    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert "net.py: Block.forward" in lines
    assert "net.py: Net.forward" in lines
    shown = {int(row.split()[0]): row for row in lines if row.split() and row.split()[0].isdigit()}
    block = shown[line(folder, "self.conv(x)).relu()")]
    assert block.endswith("3x3 .. 11x11     312         18,432") or "18,432" in block
    assert "return self.norm(self.conv(x)).relu() + x" in block
    assert "7x7 .. 11x11" in block
    assert shown[line(folder, "self.stem(x)")].split()[-2:] == ["120", "6,912"]
    assert "sums of its costs" in lines[-1]


def test_the_code_as_data_adds_up(run, folder):
    data = json.loads(run(*NET, "--source", "--format", "json").output)
    assert data["schema"] == "rfcalc-source/1"
    assert sum(row["params"] for row in data["lines"]) == 482
    assert sum(row["macs"] for row in data["lines"]) == 25384
    assert {row["file"] for row in data["lines"]} == {"net.py"}
    rows = run(*NET, "--source", "--format", "csv").output.splitlines()
    assert rows[0] == "file,line,code,layers,params,macs,flops,size"


def test_a_model_without_lines_is_told_so(run):
    result = run("vgg16", "--source")
    assert (result.exit_code, result.output) == (
        2,
        "rfcalc: error: no line of code is known of vgg16: --source needs a model of yours or of a library's, and its"
        " files\n",
    )
    assert "leave options about layers, rows and columns out" in run(*NET, "--source", "--layer", "2").output
