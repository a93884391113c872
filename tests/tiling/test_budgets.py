"""Limits on tiles in CI."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from rfcalc.cli import cli


@pytest.mark.parametrize(
    ("model", "limits", "status", "said"),
    [
        ("3x3 3x3", "max_halo = 2\ntile_exact = true", 0, ""),
        ("3x3 3x3", "max_halo = 1", 1, "max_halo"),
        ("lenet5", "tile_exact = true", 1, "impossible"),
        ("lenet5", "max_halo = 100", 1, "impossible"),
        ("3x3 3x3", "tile_exact = false", 2, "write true"),
        ("3x3 3x3", "max_halo = -1", 2, "max_halo"),
    ],
)
def test_limits(
    model: str, limits: str, status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = f'[tool.rfcalc]\nlock = false\n\n[[tool.rfcalc.models]]\nname = "net"\nmodel = "{model}"\n{limits}\n'
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(cli, ["check"], prog_name="rfcalc")

    assert result.exit_code == status, result.output
    assert said in result.output
