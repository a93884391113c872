"""The page's own scripts in node, without a page around them."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import pytest

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def evaluate(body: str, data: Any) -> Any:
    """What the body of a function of ``data`` returns, with the page's regions, models and folding at hand."""
    assets = files("rfcalc.page").joinpath("assets")
    parts = [assets.joinpath(name).read_text(encoding="utf-8") for name in ("regions.js", "model.js", "folding.js")]
    parts.append('const read = JSON.parse(require("fs").readFileSync(0, "utf8"));')
    parts.append(f"console.log(JSON.stringify((function (data) {{ {body} }})(read)));")
    command = ["node", "-e", "\n".join(parts)]
    done = subprocess.run(command, input=json.dumps(data), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
