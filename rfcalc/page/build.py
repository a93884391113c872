"""Puts the page together: template, styles, scripts and data in one file that asks the network for nothing.

A Content-Security-Policy allows the scripts and styles by their hashes and nothing else, so that no name of a layer
can become code, and no request can leave the page.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from rfcalc.analyses.analysis import Analysis
from rfcalc.page.data import document
from rfcalc.report.columns import COLUMNS
from rfcalc.report.text import titled
from rfcalc.report.words import meanings

#: The page's own scripts in the order in which they are run; they share one scope.
SCRIPTS = ("dom", "regions", "model", "paint", "tiles", "stage", "table", "folding", "graph", "charts", "view", "main")

#: The columns of the page's table of layers: its key and title there, and the column of tables that it is.
_COLUMNS = (
    ("index", "#", "index"),
    ("name", "layer", "name"),
    ("kind", "kind", "kind"),
    ("shape", "output", "output_shape"),
    ("field", "field", "size"),
    ("stride", "stride", "stride"),
    ("start", "start", "start"),
    ("params", "parameters", "params"),
    ("macs", "multiply-adds", "macs"),
    ("share", "share", "share"),
)

_HOLE = re.compile(r"@@(\w+)@@")


def page(analyses: Sequence[Analysis], tiles: Sequence[Mapping[str, Any]] = ()) -> str:
    """The HTML page of one or several analyses, and of the tiles of each (`document`)."""
    return render(document(analyses, tiles))


def render(data: Mapping[str, Any]) -> str:
    """The HTML page of a `document`."""
    vendored = vendor_manifest()
    script = _joined(
        *(_vendored(item) for item in vendored if item["file"].endswith(".js")),
        '(() => {\n"use strict";',
        *(_asset(f"{name}.js") for name in SCRIPTS),
        "})();",
    )
    style = _joined(*(_vendored(item) for item in vendored if item["file"].endswith(".css")), _asset("page.css"))
    parts = {
        "title": html.escape(", ".join(titled(str(model["name"])) for model in data["models"])),
        "policy": policy(script, style),
        "style": style,
        "script": script,
        "data": embedded(data),
        "words": words(),
        "version": html.escape(str(data["version"])),
        "libraries": html.escape(", ".join(dict.fromkeys(f"{one['name']} {one['version']}" for one in vendored))),
    }
    return _HOLE.sub(lambda match: parts[match[1]], _asset("page.html"))


def words() -> str:
    """What the columns of the table of layers mean, and the words in them: terms and definitions that can be linked."""
    columns = [(f"word-{key}", title, COLUMNS[name].helps) for key, title, name in _COLUMNS]
    within = [(f"word-{word.strip('()')}-{at}", word, meaning) for at, (word, meaning) in enumerate(meanings())]
    return "\n".join(
        f'<dt id="{name}">{html.escape(title)}</dt><dd>{html.escape(meaning)}</dd>'
        for name, title, meaning in (*columns, *within)
    )


def policy(script: str, style: str) -> str:
    """The Content-Security-Policy: this script, this style, an icon of no bytes, and nothing from anywhere."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def embedded(data: Mapping[str, Any]) -> str:
    """JSON in which no ``<`` can end the element that holds it."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def vendor_manifest() -> list[dict[str, str]]:
    """The vendored files, in the order in which they are loaded: name, version, licence, where from, checksum."""
    found: list[dict[str, str]] = json.loads(_read("vendor", "vendor.json"))["files"]
    return found


def _vendored(item: Mapping[str, str]) -> str:
    """A library's file after its licence, which must go wherever the code goes."""
    licence = _read("vendor", item["licence_file"]).strip().replace("*/", "* /")
    code = re.sub(r"^//# sourceMappingURL=.*$", "", _read("vendor", item["file"]), flags=re.MULTILINE)
    return f"/*! {item['name']} {item['version']}\n\n{licence}\n*/\n{code.strip()}"


def _joined(*parts: str) -> str:
    return "\n".join(part.replace("\r\n", "\n") for part in parts)


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _asset(name: str) -> str:
    return _read("assets", name)


def _read(folder: str, name: str) -> str:
    return files("rfcalc.page").joinpath(folder, name).read_text(encoding="utf-8")
