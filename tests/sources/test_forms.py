"""The record of forms, and what derives from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from rfcalc.cli import cli
from rfcalc.errors import UsageError
from rfcalc.sources import forms, load

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_docs_have_the_table() -> None:
    assert forms.table() in (DOCS / "sources.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["show", "compare", "verify", "plot", "trace"])
def test_the_help_of_commands_names_every_form(command: str) -> None:
    shown = CliRunner().invoke(cli, [command, "--help"]).output

    assert [text for text in forms.texts() if text not in shown] == []


def test_the_error_for_an_unknown_name_names_every_form() -> None:
    with pytest.raises(UsageError) as caught:
        load("no_such_network")

    own = {*forms.form("zoo").written, *forms.form("stack").written}
    assert [text for text in forms.texts() if text not in str(caught.value)] == [
        text for text in forms.texts() if text in own
    ]


@pytest.mark.parametrize("form", forms.FORMS, ids=lambda form: form.name)
def test_each_form_knows_its_own_texts_and_is_asked_first(form: forms.Form) -> None:
    if form.name in ("config", "torchscript"):  # files that are looked into
        assert not form.matches("no such file.json")
        return
    for text in form.written:
        asked = next(item for item in forms.FORMS if item.matches(text.strip('"')))
        assert asked is form


@pytest.mark.parametrize("form", forms.FORMS, ids=lambda form: form.name)
def test_each_form_has_its_module(form: forms.Form) -> None:
    assert callable(form.source.load)
    assert hasattr(form.source, "matches") == form.looks
    assert hasattr(form.source, "names") == form.listed
    assert bool(form.needs) == bool(form.extra)


def test_the_extras_exist() -> None:
    project = (DOCS.parent / "pyproject.toml").read_text(encoding="utf-8")

    assert [form.extra for form in forms.FORMS if form.extra and f"\n{form.extra} = [" not in project] == []


def test_a_missing_package_is_named_with_its_extra() -> None:
    assert str(forms.missing("timm", "timm:x")) == (
        "timm:x needs timm, which is not installed: pip install 'rfcalc[timm]'"
    )
