"""The page opens on the headline layer, shows what became of a layer in the other model, and fits where it is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

import rfcalc
from rfcalc.page import page
from rfcalc.page.data import document
from tests.page.browser import Browser, browsing


def nets() -> list[rfcalc.Analysis]:
    """Two versions: one layer renamed, one wider, one more."""
    first, second = nn.Sequential(), nn.Sequential()
    for net, stem, width in ((first, "stem", 4), (second, "entry", 8)):
        net.add_module(stem, nn.Conv2d(3, 4, 3, padding=1))
        net.add_module("body", nn.Conv2d(4, width, 3, padding=1))
    second.add_module("more", nn.Conv2d(8, 8, 1))
    return [rfcalc.analyze(net, (3, 16, 16)) for net in (first, second)]


def test_two_models_are_matched_across_renames():
    old, new = document(nets())["models"]
    assert old["versus"]["layers"] == [
        {"how": "same", "name": "input"},
        {"how": "renamed", "name": "entry"},
        {"how": "changed", "name": "body"},
    ]
    assert [row["how"] for row in new["versus"]["layers"]] == ["same", "renamed", "changed", "added"]
    assert "versus" not in document(nets()[:1])["models"][0]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "one.html").write_text(page([rfcalc.analyze("vgg16")]))
    (folder / "two.html").write_text(page(nets()))
    return folder


def test_the_page_opens_on_the_headline_layer(browser: Browser, pages: Path):
    browser.open(pages / "one.html")
    assert browser.text("tr.chosen a") == "pool5"


def test_what_changed_is_coloured_and_said(browser: Browser, pages: Path):
    browser.open(pages / "two.html")
    rows = "article:nth-child({}) tbody tr"
    assert browser.texts(rows.format(1) + " .c-versus") == ["", "renamed: entry", "changed"]
    assert browser.texts(rows.format(2) + " .c-versus") == ["", "renamed: stem", "changed", "added"]
    heads = "document.querySelectorAll('article:nth-child(2) tbody th')"
    colours = browser.run(f"return [...{heads}].map((one) => getComputedStyle(one).color)")
    assert len({colours[0], colours[2], colours[3]}) == 3
    assert colours[0] == colours[1]
    assert browser.count("article:nth-child(2) .box.how-added") == 1


@pytest.mark.parametrize("width", [1280, 1440])
@pytest.mark.parametrize("name", ["one", "two"])
def test_nothing_is_wider_than_the_window(browser: Browser, pages: Path, name: str, width: int):
    browser.open(pages / f"{name}.html", width=width)
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_a_phone_has_a_way_to_every_part(browser: Browser, pages: Path):
    browser.open(pages / "one.html", width=390)
    assert browser.texts(".jumps button") == ["What it sees", "Graph", "Costs", "Layers"]
    browser.run("document.documentElement.style.scrollBehavior = 'auto'")
    browser.click(".jumps button:nth-child(4)")
    top = "return document.querySelector('.table-panel').getBoundingClientRect().top"
    browser.until(lambda: -50 < browser.run(top) < 300, "the table of layers")
    browser.open(pages / "one.html", width=1280)
    assert not browser.one(".jumps").is_displayed()


#: Of what axe-core looks for: names of controls, one main, headings in order, ids, a language, cells of tables.
CHECKS = """
const named = (one) => one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length || one.title;
const found = [];
const controls = "button, select, input:not([type=file]), a[href], [role=button], canvas[role]";
for (const one of document.querySelectorAll(controls))
  if (!named(one) && one.getAttribute("aria-hidden") !== "true") found.push("no name: " + one.outerHTML.slice(0, 80));
if (document.querySelectorAll("main").length !== 1) found.push("main");
if (!document.documentElement.lang) found.push("lang");
if (!document.title) found.push("title");
const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
if (new Set(ids).size !== ids.length) found.push("an id twice");
let level = 0;
for (const head of document.querySelectorAll("h1, h2, h3, h4")) {
  const own = Number(head.tagName[1]);
  if (own > level + 1) found.push("heading skips a level: " + head.textContent);
  level = own;
}
for (const cell of document.querySelectorAll("th")) if (!cell.scope) found.push("th without scope");
for (const one of document.querySelectorAll("[aria-labelledby], [aria-describedby]"))
  for (const name of ["aria-labelledby", "aria-describedby"])
    for (const id of (one.getAttribute(name) ?? "").split(" ").filter(Boolean))
      if (!document.getElementById(id)) found.push(name + " of nothing: " + id);
for (const one of document.querySelectorAll("[tabindex]")) if (one.tabIndex > 0) found.push("tabindex above 0");
return found;
"""


@pytest.mark.parametrize("name", ["one", "two"])
def test_controls_are_labelled_and_the_outline_is_sound(browser: Browser, pages: Path, name: str):
    browser.open(pages / f"{name}.html")
    assert browser.run(CHECKS) == []
