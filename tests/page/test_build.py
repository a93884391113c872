"""The page as a file: whole, small, and closed to the network and to names that are code."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from torch import nn

from rfcalc import analyze
from rfcalc.analyses.results import Layer
from rfcalc.cli import cli
from rfcalc.page import page
from rfcalc.page.build import SCRIPTS, vendor_manifest
from rfcalc.page.data import document, group_of
from tests.page.nets import example

VENDOR = Path(str(files("rfcalc.page").joinpath("vendor")))
ASSETS = Path(str(files("rfcalc.page").joinpath("assets")))


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in ("script", "style", "title"):
            tag, attrs, text = self.found[-1]
            self.found[-1] = (tag, attrs, text + data)

    def all(self, name: str) -> list[tuple[dict[str, str | None], str]]:
        """Attributes and text of all elements of one name."""
        return [(attrs, text) for tag, attrs, text in self.found if tag == name]


def data_of(text: str) -> dict[str, Any]:
    """The data that a page holds."""
    [content] = [text for attrs, text in Elements(text).all("script") if attrs.get("id") == "data"]
    found: dict[str, Any] = json.loads(content)
    return found


@pytest.fixture(scope="module")
def small() -> str:
    return page([example("lenet5")])


def test_nothing_is_loaded(small: str) -> None:
    found = Elements(small)
    addresses = [attrs[name] for _, attrs, _ in found.found for name in ("src", "href") if name in attrs]

    assert addresses == ["data:,", "#models"]
    assert "@@" not in small
    assert not re.search(r"@import|url\(", small.partition("</style>")[0])


def test_the_policy_allows_this_script_and_this_style_and_nothing_else(small: str) -> None:
    found = Elements(small)
    [policy] = [
        attrs["content"] or "" for attrs, _ in found.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    [style] = [text for _, text in found.all("style")]
    [script] = [text for attrs, text in found.all("script") if "type" not in attrs]

    assert rules.pop("default-src") == "'none'"
    assert rules.pop("script-src") == f"'{sha256(script)}'"
    assert rules.pop("style-src") == f"'{sha256(style)}'"
    assert rules == {"img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}


def sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_names_are_no_markup() -> None:
    hostile = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--"]
    net = nn.Sequential()
    for name in hostile:
        net.add_module(name, nn.Conv2d(1, 1, 3))
    net.__class__ = type("<b>Net</b>&", (nn.Sequential,), {})

    text = page([analyze(net, (1, 12, 12))])

    found = Elements(text)
    assert len(found.all("script")) == 2
    assert not found.all("img")
    assert not found.all("b")
    assert [layer["name"] for layer in data_of(text)["models"][0]["layers"]][1:] == hostile
    assert found.all("title")[0][1].startswith("<b>Net</b>&")


def test_the_page_of_resnet152_is_small() -> None:
    assert len(page([analyze("resnet152")]).encode()) < 1_000_000


def test_vendored_files_are_what_npm_has() -> None:
    manifest = vendor_manifest()
    listed = {item["file"]: item["sha256"] for item in manifest}
    licences = {item["licence_file"] for item in manifest}

    there = {path.name for path in VENDOR.iterdir()} - {"vendor.json"}
    assert there == {*listed, *licences}
    for name, expected in listed.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == expected, name
    assert sum((VENDOR / name).stat().st_size for name in listed) < 200_000


def test_vendored_files_say_where_from_and_under_which_licence() -> None:
    for item in vendor_manifest():
        assert item["from"] == f"https://registry.npmjs.org/{item['name']}/-/{tail(item)}-{item['version']}.tgz"
        assert item["licence"] in ("MIT", "ISC", "BSD-3-Clause")
        licence = (VENDOR / item["licence_file"]).read_text(encoding="utf-8")
        assert "copyright" in licence.lower(), item["name"]


def tail(item: dict[str, str]) -> str:
    return item["name"].rpartition("/")[2]


def test_licences_go_with_the_page(small: str) -> None:
    for item in vendor_manifest():
        licence = (VENDOR / item["licence_file"]).read_text(encoding="utf-8").strip()
        assert f"/*! {item['name']} {item['version']}\n\n{licence}" in small


def test_every_script_is_in_the_page_and_short() -> None:
    there = {path.stem for path in ASSETS.glob("*.js")}

    assert there == set(SCRIPTS)
    assert {path.name for path in ASSETS.iterdir() if len(path.read_text(encoding="utf-8").splitlines()) > 500} == set()


def test_no_script_makes_markup_of_text() -> None:
    risky = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser")

    assert {path.name for path in ASSETS.glob("*.js") if risky.search(path.read_text(encoding="utf-8"))} == set()


# --- the data ---------------------------------------------------------------------------------------------------------


def test_totals_and_layers_are_those_of_the_lecture() -> None:
    [model] = document([analyze("vgg16")])["models"]
    layers = {layer["name"]: layer for layer in model["layers"]}

    assert model["totals"] == {"params": 138357544, "macs": 15470264320, "flops": 30973762536, "complete": True}
    assert (model["summary"]["field"], model["summary"]["at"], model["summary"]["whole"]) == ("212x212", "pool5", "fc6")
    assert len(layers) == 22
    assert layers["conv1_2"]["fields"]["input"]["text"] == "5x5"
    assert layers["conv1_2"]["macs"] == 1849688064
    assert [layers["conv1_2"]["inputs"], layers["conv1_2"]["shape"]] == [[1], [1, 64, 224, 224]]


def test_unknown_ops_and_bounds_are_told() -> None:
    [model] = document([example("unruled")])["models"]
    layer = model["layers"][-1]

    assert (layer["macs"], layer["kind"]) == (None, "unknown")
    assert (layer["fields"]["input"]["exact"], layer["fields"]["input"]["text"][:2]) == (False, "<=")
    assert model["totals"]["complete"] is False
    assert ["multiply-adds", "at least 168"] in model["facts"]
    assert any(note.startswith("<= is an upper bound") for note in model["notes"])


def test_a_count_without_rule_is_no_number_and_a_huge_one_a_text() -> None:
    from rfcalc.page.data import _count

    assert [_count(None), _count(2**53 - 1), _count(2**53)] == [None, 9007199254740991, "9007199254740992"]


@pytest.mark.parametrize(
    ("name", "scope", "expected"),
    [
        ("layer1.0.conv1", "layer1.0.conv1", ("layer1", "0")),
        ("layer1.0/add", "layer1.0", ("layer1", "0")),
        ("layer1.0/add#2", "layer1.0", ("layer1", "0")),
        ("conv2_1/conv1", "conv2_1.conv1", ("conv2_1",)),
        ("conv1#2", "conv1", ()),
        ("mean", "", ()),
        ("a/b", "a/b", ()),
    ],
)
def test_groups_are_the_modules_around(name: str, scope: str, expected: tuple[str, ...]) -> None:
    layer = Layer(1, name, "conv", "", "", (), (), 0, 0, 0, 0, {}, "", {}, {})

    assert group_of(layer, scope) == expected


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_one_file(tmp_path: Path) -> None:
    path = tmp_path / "page.html"

    done = CliRunner().invoke(cli, ["report", "lenet5", "inception-naive", "-o", str(path)])

    assert (done.exit_code, done.output) == (0, "")
    assert [model["name"] for model in data_of(path.read_text(encoding="utf-8"))["models"]] == [
        "lenet5",
        "inception-naive",
    ]


def test_the_command_takes_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["report", "3x3:2-4", "--input", "2x9x9"])

    assert done.exit_code == 0
    [written] = tmp_path.iterdir()
    assert f"wrote {written.name}" in done.stderr
    assert data_of(written.read_text(encoding="utf-8"))["models"][0]["inputs"][0]["shape"] == [1, 2, 9, 9]


def test_the_command_needs_a_model() -> None:
    done = CliRunner().invoke(cli, ["report"])

    assert done.exit_code == 2
