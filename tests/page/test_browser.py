"""The page in a real browser: everything that a person does with it, on a desk and on a phone."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from rfcalc import analyze, tile
from rfcalc.page import page
from tests.page.browser import Browser, browsing, png
from tests.page.nets import example
from tests.tiling.nets import UNet

#: Colours of the pen and of places on canvases, as red, green and blue.
PIXEL = """
const canvas = document.querySelector(arguments[0]);
const at = [arguments[1] * canvas.width, arguments[2] * canvas.height].map(Math.floor);
return [...canvas.getContext("2d").getImageData(at[0], at[1], 1, 1).data].slice(0, 3);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Path:
    """A folder of pages: a chain, modules, two models, inputs of every sort, an op without rule, bad names."""
    folder = tmp_path_factory.mktemp("pages")
    models = {
        "vgg": [analyze("vgg16")],
        "modules": [analyze("googlenet")],
        "pair": [example("lenet5"), example("inception-naive")],
        "hostile": [hostile()],
        **{name: [example(name)] for name in ("two", "tokens", "volume", "vector", "unruled", "branches")},
    }
    for name, analyses in models.items():
        (folder / f"{name}.html").write_text(page(analyses), encoding="utf-8")
    return folder


def hostile():
    """A model whose modules have names that are markup."""
    net = nn.Sequential()
    for name in ("<img src=x onerror=hacked=1>", "</script><script>hacked=1</script>", "\"'><b>"):
        inner = nn.Sequential()
        inner.add_module(name, nn.Conv2d(1, 1, 3))
        net.add_module(name, inner)
    return analyze(net, (1, 12, 12))


@pytest.fixture(autouse=True)
def _quiet_and_alone(browser: Browser) -> Iterator[None]:
    """Nothing is told to the console, and no request leaves the page, whatever a test does."""
    browser.complaints()
    browser.requests()
    yield
    assert browser.complaints() == []
    # Chromium's own pages, such as that of a new tab, are chrome: and ask nobody.
    assert {address.partition(":")[0] for address in browser.requests()} <= {"file", "data", "chrome"}


def sees(browser: Browser) -> str:
    return browser.text(".sees")


def waits_for(browser: Browser, text: str) -> None:
    browser.until(lambda: text in sees(browser), f"{text!r} in {sees(browser)!r}")


# --- what a unit sees -------------------------------------------------------------------------------------------------


def test_hovering_a_row_shows_what_the_layer_sees_and_leaving_it_shows_the_chosen_one(
    browser: Browser, pages: Path
) -> None:
    browser.open(pages / "vgg.html", "#layer=conv1_1")
    waits_for(browser, "Unit H 112, W 112 of conv1_1 sees H 111..113 (3), W 111..113 (3) of the input.")

    browser.hover("tr[data-at='2'] a")
    waits_for(browser, "Unit H 112, W 112 of conv1_2 sees H 110..114 (5), W 110..114 (5) of the input.")
    browser.hover("footer")
    waits_for(browser, "of conv1_1 sees")


def test_hovering_and_clicking_a_node_of_the_graph(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=conv1_1")

    browser.hover(".box[data-at='2']")
    waits_for(browser, "of conv1_2 sees H 110..114 (5)")
    browser.click(".box[data-at='3']")
    browser.hover("footer")

    waits_for(browser, "of pool1 sees H 110..115 (6)")
    assert "layer=pool1" in browser.run("return location.hash")
    assert browser.text("tr.chosen a") == "pool1"


def test_a_unit_at_the_border_is_cut_and_its_window_is_not(browser: Browser, pages: Path) -> None:
    """pool5: size 212, stride 32, start -90. Unit 0 sees 0..121, unit 6 102..223."""
    browser.open(pages / "vgg.html", "#layer=pool5&unit=,,0,6")

    waits_for(browser, "Unit H 0, W 6 of pool5 sees H 0..121 (122), W 102..223 (122) of the input.")
    assert browser.texts(".facts dd")[browser.texts(".facts dt").index("offset (start)")] == "-90,-90"


def test_the_map_of_units_by_pointer_click_and_arrow_keys(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=pool5")
    waits_for(browser, "Unit H 3, W 3 of pool5 sees")

    browser.click_at("canvas.units", 0.95, 0.05)
    waits_for(browser, "Unit H 0, W 6 of pool5 sees")
    browser.press("ARROW_DOWN", "ARROW_LEFT")
    waits_for(browser, "Unit H 1, W 5 of pool5 sees H 0..153 (154), W 70..223 (154) of the input.")
    assert "unit=%2C%2C1%2C5" in browser.run("return location.hash")


def test_sliders_move_the_unit(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=conv1_1")
    browser.fill(".slider input[data-axis='2']", "0")

    waits_for(browser, "Unit H 0, W 112 of conv1_1 sees H 0..1 (2), W 111..113 (3)")
    assert browser.one(".slider input[data-axis='2']").get_attribute("aria-valuetext") == "0 of 0..223"


def test_channels_that_see_differently_can_be_told_apart(browser: Browser, pages: Path) -> None:
    browser.open(pages / "branches.html", "#layer=cat&unit=,,5,5")
    waits_for(browser, "Unit axis 1 all, H 5, W 5 of cat sees H 4..6 (3), W 4..6 (3)")
    browser.fill(".slider input[data-axis='1']", "5")
    waits_for(browser, "Unit axis 1 5, H 5, W 5 of cat sees H 5..5 (1), W 5..5 (1)")


# --- what a pixel changes ---------------------------------------------------------------------------------------------


def test_a_pixel_shows_which_layers_and_positions_it_can_change(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=conv1_2&pixel=0,100")

    assert browser.text(".changes") == (
        "Pixel H 0, W 100 is seen in 22 of 22 layers. In conv1_2 it can change H 0..2, W 98..102: 15 of 50,176 units."
    )
    assert browser.text("tr[data-at='1'] .c-changed") == "0..1 x 99..101"
    assert browser.count(".box.changed") == 22


def test_clicking_the_picture_chooses_a_pixel_and_keys_move_it(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=conv1_1")
    assert not browser.one(".changes").is_displayed()

    browser.click_at("canvas.picture", 0.5, 0.5)
    browser.until(lambda: browser.text(".changes").startswith("Pixel H 112, W 112 is seen"))
    browser.press("ARROW_UP", "ARROW_RIGHT")
    browser.until(lambda: browser.text(".changes").startswith("Pixel H 111, W 113 is seen"))
    assert "pixel=111%2C113" in browser.run("return location.hash")
    browser.click(".pixel-at button")
    browser.until(lambda: not browser.one(".changes").is_displayed())


def test_a_layer_beside_the_way_of_a_pixel_is_left_out(browser: Browser, pages: Path) -> None:
    """A convolution of the one input sees nothing of the other."""
    browser.open(pages / "two.html", "#layer=five&input=right&pixel=3")

    assert browser.text(".changes") == "Pixel L 3 is seen in 3 of 5 layers. In five it changes nothing."
    browser.click(".table-panel .check input")
    assert browser.texts("tbody th a") == ["right", "three", "add"]
    assert browser.count(".box.unchanged") == 2


# --- table, graph and charts ------------------------------------------------------------------------------------------


def test_sorting_and_filtering(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=conv1_1")
    names = "tbody th a"

    browser.click("button[data-key='params']")
    assert browser.texts(names)[:3] == ["fc6", "fc7", "fc8"]
    assert browser.one("th.c-params[aria-sort]").get_attribute("aria-sort") == "descending"
    browser.click("button[data-key='params']")
    assert browser.texts(names)[-3:] == ["fc8", "fc7", "fc6"]
    browser.click("button[data-key='name']")
    assert browser.texts(names)[:3] == ["conv1_1", "conv1_2", "conv2_1"]
    browser.fill(".table-panel input[type='search']", "conv4")
    assert browser.texts(names) == ["conv4_1", "conv4_2", "conv4_3"]
    browser.fill(".table-panel input[type='search']", "")
    browser.fill(".table-panel select", "pool")
    assert browser.texts(names) == ["pool1", "pool2", "pool3", "pool4", "pool5"]
    assert browser.text(".table-panel output") == "5 of 22 layers"


def test_modules_fold_and_unfold(browser: Browser, pages: Path) -> None:
    browser.open(pages / "modules.html", "#layer=conv1")
    browser.click("[aria-label='Fold all modules']")
    closed = "[aria-label='Module inception3a, 8 layers, closed']"
    assert browser.count(closed) == 1
    assert not browser.count(".box[aria-label*='inception3a/5x5,']")

    browser.focus(closed)
    browser.press("ENTER")
    assert browser.count(".box[aria-label*='inception3a/']") == 8
    browser.press("ARROW_UP", "ENTER")  # from its first layer to the frame around it
    assert browser.count(closed) == 1
    browser.click("[aria-label='Unfold all modules']")
    assert browser.count(".box.layer") == 82
    browser.click("[aria-label='Fold all modules']")
    assert browser.count(".box.module") == 9


def test_searching_opens_what_it_finds(browser: Browser, pages: Path) -> None:
    browser.open(pages / "modules.html", "#layer=conv1")

    browser.one(".graph-panel input").send_keys("4c/5x5")
    assert browser.text(".graph-panel output") == "2 layers"
    assert browser.count(".box.module.found") == 1
    browser.press("ENTER")

    browser.until(lambda: browser.count(".box.layer.found") == 2)
    assert "layer=inception4c%2F5x5_reduce" in browser.run("return location.hash")
    assert browser.text(".layer-title").startswith("43: inception4c/5x5_reduce")


def test_zooming_and_panning(browser: Browser, pages: Path) -> None:
    browser.open(pages / "modules.html", "#layer=conv1")

    def transform() -> str:
        return browser.one("svg.graph > g").get_attribute("transform")

    seen = [transform()]
    for label in ("Zoom in", "Zoom out", "Fit the graph"):
        browser.click(f"[aria-label='{label}']")
        seen.append(transform())
    assert len(set(seen)) >= 3
    before = transform()
    browser.drag("svg.graph", 40, 30)
    assert transform() != before


def test_the_keyboard_reaches_and_opens_the_nodes(browser: Browser, pages: Path) -> None:
    browser.open(pages / "modules.html", "#layer=conv1")
    assert browser.count("svg.graph [tabindex='0']") == 1
    browser.focus("svg.graph [tabindex='0']")

    browser.press("ARROW_DOWN")
    label = browser.driver.switch_to.active_element.get_attribute("aria-label")
    assert label.startswith("Layer 3, pool1")
    waits_for(browser, "of pool1 sees")
    browser.press("END", "HOME", "ENTER")
    browser.until(lambda: "layer=input" in browser.run("return location.hash"))


def test_the_keyboard_goes_through_the_table(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=conv1_1")
    assert browser.count("tbody a[tabindex='0']") == 1
    browser.focus("tbody a[tabindex='0']")

    browser.press("ARROW_DOWN")
    waits_for(browser, "of conv1_2 sees")
    browser.press("ENTER")
    browser.until(lambda: "layer=conv1_2" in browser.run("return location.hash"))
    assert browser.text("a[aria-current]") == "conv1_2"


def test_charts_show_and_choose_layers(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=conv1_2")
    assert browser.text(".caption") == "3: conv1_2: 1,849,688,064 multiply-adds (12.0 %)"

    browser.fill(".charts select", "params")
    assert browser.text(".caption") == "3: conv1_2: 36,928 parameters (0.0 %)"
    assert browser.one(".treemap .cell").get_attribute("aria-label") == "fc6: 102,764,544 parameters, 74.3 %"
    browser.click(".treemap .cell")
    waits_for(browser, "of fc6 sees H 0..223 (224), W 0..223 (224): the whole of the input.")
    browser.click_at(".charts .uplot .u-over", 0.5, 0.5)
    browser.until(lambda: "fc6" not in browser.text("tr.chosen a"))
    browser.fill(".charts select", "field")
    assert not browser.one(".treemap").is_displayed()


def test_the_treemap_leads_into_modules(browser: Browser, pages: Path) -> None:
    browser.open(pages / "modules.html", "#layer=conv1")
    browser.click_at(".cell[aria-label^='inception4e:']", 0.5, 0.05)

    assert browser.texts(".crumbs button") == ["googlenet", "inception4e"]
    assert "3x3" in " ".join(browser.texts(".treemap .cell"))


# --- the picture ------------------------------------------------------------------------------------------------------


def test_a_dropped_picture_takes_the_place_of_the_test_picture(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=fc8")
    drop = """
    const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], "red.png", { type: "image/png" }));
    const dropped = new DragEvent("drop", { dataTransfer: carried, cancelable: true });
    document.querySelector(".picture-figure").dispatchEvent(dropped);
    """
    browser.run(drop, base64.b64encode(png(30, 20, (250, 0, 0))).decode())

    browser.until(lambda: browser.run(PIXEL, "canvas.picture", 0.4, 0.45) == [250, 0, 0])
    assert "red.png, 30x20" in browser.text(".picture-figure")


def test_a_picture_can_be_chosen_and_another_file_is_refused(browser: Browser, pages: Path, tmp_path: Path) -> None:
    (tmp_path / "blue.png").write_bytes(png(8, 8, (0, 0, 250)))
    (tmp_path / "text.txt").write_text("no picture")
    browser.open(pages / "vgg.html", "#layer=fc8")

    browser.one("input[type='file']").send_keys(str(tmp_path / "blue.png"))
    browser.until(lambda: browser.run(PIXEL, "canvas.picture", 0.4, 0.45) == [0, 0, 250])
    browser.one("input[type='file']").send_keys(str(tmp_path / "text.txt"))
    browser.until(lambda: "text.txt is no picture" in browser.text(".picture-figure"))
    assert browser.run(PIXEL, "canvas.picture", 0.4, 0.45) == [0, 0, 250]


def test_what_is_not_seen_is_darker(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=conv1_1&unit=,,10,10")
    dark = browser.run(PIXEL, "canvas.picture", 0.5, 0.95)
    browser.open(pages / "vgg.html", "#layer=fc8")

    assert sum(browser.run(PIXEL, "canvas.picture", 0.5, 0.95)) > sum(dark) + 100


#: How many pixels of a canvas have a colour of the style sheet.
OF_COLOUR = """
const canvas = document.querySelector(arguments[0]);
const probe = document.body.appendChild(document.createElement("i"));
probe.style.color = `var(${arguments[1]})`;
const wanted = getComputedStyle(probe).color.match(/[0-9.]+/g).map(Number);
probe.remove();
const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
let count = 0;
for (let at = 0; at < data.length; at += 4) count += wanted.every((one, part) => data[at + part] === one);
return count;
"""


def test_tiles_lie_over_the_picture_and_follow_the_pixel(browser: Browser, tmp_path: Path) -> None:
    """A U-Net with margins of 8 on 40 x 36 in tiles of 24: tiles write rows 0..15, 16..23, 24..39."""
    plan = tile(UNet(1), (1, 40, 36), tile=24)
    (tmp_path / "tiles.html").write_text(page([analyze(UNet(1), (1, 40, 36))], [plan.to_dict()]), encoding="utf-8")
    browser.open(tmp_path / "tiles.html")
    where = "The tile at the pixel writes H {}, W {}, needs H {}, W {} for that, and reads H {}, W {}."

    assert browser.text(".tile-text") == where.format("16..23", "16..23", *["8..31"] * 4)
    drawn = {part: painted(browser, f"--tile-{part}") for part in ("writes", "needs", "reads")}
    assert min(drawn.values()) > 20, drawn
    browser.click_at("canvas.picture", 0.1, 0.1)
    said = where.format("0..15", "0..15", *["0..23"] * 4)
    browser.until(lambda: browser.text(".tile-text") == said)
    assert "pixel=" in browser.run("return location.hash")
    browser.click(".tiles input")
    browser.until(lambda: browser.text(".tile-text") == "")
    assert painted(browser, "--tile-writes") == 0
    assert "9 tiles of 24x24, equal to the whole" in browser.texts(".totals dd")


def painted(browser: Browser, name: str) -> int:
    """How many pixels of the picture have the colour of that name in the style sheet."""
    found: int = browser.run(OF_COLOUR, "canvas.picture", name)
    return found


# --- other inputs, other models ---------------------------------------------------------------------------------------


def test_two_inputs_each_have_their_fields(browser: Browser, pages: Path) -> None:
    browser.open(pages / "two.html", "#layer=five&unit=,,10")
    waits_for(browser, "Unit L 10 of five sees L 10..14 (5) of input left.")
    assert browser.count("canvas.bar") == 1

    browser.fill(".input-choice", "1")
    waits_for(browser, "of five sees nothing of input right.")
    assert "input=right" in browser.run("return location.hash")


@pytest.mark.parametrize(
    ("name", "fragment", "text"),
    [
        ("tokens", "#layer=mix&unit=,5,", "Unit axis 1 5 of mix sees H 4..7 (4), W 4..7 (4) of the input."),
        ("volume", "#layer=step1", "sees D 1..4 (4), H 3..6 (4), W 3..6 (4) of the input."),
        ("vector", "#layer=step0", "step0: the input has no axes along which fields are measured."),
        ("unruled", "#layer=unruled", "sees at most L 0..15 (16): the whole of the input."),
    ],
)
def test_inputs_of_every_sort(browser: Browser, pages: Path, name: str, fragment: str, text: str) -> None:
    browser.open(pages / f"{name}.html", fragment)

    waits_for(browser, text)


def test_incomplete_totals_are_told(browser: Browser, pages: Path) -> None:
    browser.open(pages / "unruled.html")

    assert "at least 168" in browser.texts(".totals dd")
    assert "no rule for rfcalc_tests.unruled" in browser.text(".totals .warn")
    assert browser.text("tbody tr:last-child .c-macs") == "?"


def test_two_models_side_by_side(browser: Browser, pages: Path) -> None:
    browser.open(pages / "pair.html", "#layer=C3&layer2=5x5")

    assert browser.texts(".models tbody th") == ["lenet5", "inception-naive"]
    assert browser.count("article.model") == 2
    left, right = (browser.one(f"article.model:nth-child({at})").rect for at in (1, 2))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    assert [text.split(" of ")[1].split(" ")[0] for text in browser.texts(".sees")] == ["C3", "5x5"]
    browser.fill("article:nth-child(2) .model-choice", "0")
    browser.until(lambda: browser.texts(".model-title") == ["lenet5: input 1x1x32x32 (batch 1)"] * 2)
    assert "model2=lenet5" in browser.run("return location.hash")


def test_names_that_are_markup_do_nothing(browser: Browser, pages: Path) -> None:
    browser.open(pages / "hostile.html")
    browser.click("[aria-label='Unfold all modules']")
    browser.hover("tbody tr:nth-child(3) a")

    assert browser.run("return window.hacked") is None
    assert browser.count("img") == browser.count("b") == 0
    assert "<img src=x onerror=hacked=1>" in " ".join(browser.texts("tbody th a"))


# --- address, theme, size ---------------------------------------------------------------------------------------------


def test_a_link_leads_to_the_state_of_a_layer(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=conv1_1")
    link = browser.run("return document.querySelector(\"tr[data-at='9'] a\").getAttribute('href')")
    assert link == "#layer=conv3_3"

    browser.run("location.hash = 'layer=conv4_1&unit=,,0,0&pixel=5,6'")
    waits_for(browser, "Unit H 0, W 0 of conv4_1 sees H 0..33 (34), W 0..33 (34)")
    assert browser.text(".changes").startswith("Pixel H 5, W 6")


@pytest.mark.parametrize("fragment", ["#layer=nonsense", "#unit=9,9,999,999&pixel=-1,4", "#layer=%", "#pixel=1"])
def test_an_address_that_makes_no_sense_is_as_none(browser: Browser, pages: Path, fragment: str) -> None:
    browser.open(pages / "vgg.html", fragment)

    waits_for(browser, "Unit H 3, W 3 of pool5 sees")
    assert not browser.one(".changes").is_displayed()


def background(browser: Browser) -> int:
    """How light the page is, of 765."""
    colour = browser.run("return getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour.strip("rgb()").split(","))


def test_light_and_dark(browser: Browser, pages: Path) -> None:
    browser.open(pages / "vgg.html", "#layer=conv1_1")
    assert background(browser) > 600
    browser.open(pages / "vgg.html", "#layer=conv1_1", dark=True)
    assert background(browser) < 150
    browser.fill("#theme", "light")
    assert background(browser) > 600

    browser.run("localStorage.setItem('kept', 1)")

    def again() -> bool:
        """The choice is there, unless this browser keeps nothing at all (one that is out of room, or starved)."""
        browser.driver.refresh()
        return background(browser) > 600 or browser.run("return localStorage.getItem('kept')") is None

    browser.until(again, "the choice, after the page was loaded anew")
    browser.fill("#theme", "auto")


def test_on_a_phone(browser: Browser, pages: Path) -> None:
    browser.open(pages / "modules.html", width=375)

    assert browser.run("return document.documentElement.scrollWidth") <= 375
    browser.click("tr[data-at='4'] a")
    waits_for(browser, "of conv2 sees")
    assert browser.text(".peek strong") == "5: conv2"
    assert browser.one(".peek").is_displayed()
    shown = [name for name in browser.texts("thead button") if name.strip()]
    assert shown[0].startswith("#")
    assert not browser.one("th.c-stride").is_displayed()
    assert browser.one("th.c-macs").is_displayed()


def test_two_models_on_a_phone_are_one_below_the_other(browser: Browser, pages: Path) -> None:
    browser.open(pages / "pair.html", width=375)
    first, second = (browser.one(f"article.model:nth-child({at})").rect for at in (1, 2))

    assert browser.run("return document.documentElement.scrollWidth") <= 375
    assert first["y"] + first["height"] <= second["y"]


def test_what_can_be_used_has_a_name_and_shows_its_focus(browser: Browser, pages: Path) -> None:
    browser.open(pages / "modules.html", "#layer=conv1")
    nameless = """
    const usable = "button, input:not([type=file]), select, a[href], [role=button], canvas[role]";
    const named = (one) => one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length;
    return [...document.querySelectorAll(usable)].filter((one) => !named(one)).map((one) => one.outerHTML);
    """
    assert browser.run(nameless) == []
    browser.press("TAB")
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.run(outline) == "solid"
