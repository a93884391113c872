"""Graphs that need no tracing: those of the zoo ship with rfcalc, those of installed libraries are kept from before.

`python -m rfcalc.sources.ship` writes the zoo's anew. What is kept lies in the user's cache folder, under a key of
everything that a graph depends on: the model's text, its inputs, and the releases of the library, torch and rfcalc.
Nothing that is the user's own is kept: it may change under the same name.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfcalc import graph_json
from rfcalc.errors import LoadError, UsageError
from rfcalc.graph import LayerGraph
from rfcalc.reading import opened
from rfcalc.sources.forms import FORMS
from rfcalc.zoo import CATALOG

#: The prefixes of the names whose graphs are kept.
LIBRARIES = tuple(form.prefix.removesuffix(":") for form in FORMS if form.kept)
SHIPPED = Path(__file__).parent.parent / "zoo" / "graphs"
_GZIP = 31  #: zlib's number for gzip's format, which checks what it unpacks

#: What may be used: nothing stored (``"nothing"``), the zoo's graphs (``"shipped"``), or the cache too (``"kept"``).
_use: ContextVar[str] = ContextVar("use", default="shipped")
_foreign = False  #: whether code of the user's has run in this process, which can change what a library's name means


@dataclass(frozen=True)
class Wanted:
    """A model named by a text, and how it is to be traced; all as for `rfcalc.trace`."""

    spec: str
    inputs: Any
    axes: Any
    training: bool

    @property
    def texts(self) -> list[Any] | None:
        """The same as JSON data; None where the inputs are no shapes."""
        inputs = self.inputs
        shapes = [*inputs.items()] if isinstance(inputs, Mapping) else inputs
        data = [self.spec, shapes, self.axes, self.training]
        return data if inputs is None or _plain(shapes) else None


@contextmanager
def using(what: str) -> Iterator[None]:
    """Within the block: ``"kept"`` allows the cache, which is the command line's; with ``"nothing"`` all is traced."""
    token = _use.set(what)
    try:
        yield
    finally:
        _use.reset(token)


def ran_code() -> None:
    """Code of the user's has run: from now on no library's model is looked up or kept by its name."""
    global _foreign
    _foreign = True


def find(wanted: Wanted) -> LayerGraph | None:
    """The graph, if it is there. What lies in the cache and is damaged, or another's, is as good as not there."""
    if wanted.spec in CATALOG:
        return _shipped(wanted) if _use.get() != "nothing" else None
    place = _place(wanted)
    if place is None:
        return None
    with suppress(OSError, ValueError, KeyError, TypeError, zlib.error, LoadError):
        data = json.loads(zlib.decompress(_own_file(place.path), _GZIP))
        if data["key"] == place.key:
            return graph_json.from_json(data["graph"], str(place.path), trusted=True)
    return None


def _own_file(path: Path) -> bytes:
    """The content of a file of this user's own. Raises `OSError` for another's: what it says may be anything."""
    with opened(path) as file:
        if hasattr(os, "getuid") and os.fstat(file.fileno()).st_uid != os.getuid():
            raise PermissionError(f"{path} is another user's")
        return file.read()


def keep(wanted: Wanted, graph: LayerGraph) -> None:
    """Put a graph into the cache, if it may be kept; where that fails it is traced again the next time."""
    place = _place(wanted)
    if place is None or any(record.macs is None for record in graph):  # a rule may come for what has none
        return
    from rfcalc.writing import write_whole

    data = {"key": place.key, "graph": graph_json.to_json(graph)}
    with suppress(OSError, UsageError):
        place.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(place.path, packed(json.dumps(data, separators=(",", ":"))))


def folder() -> Path | None:
    """Where graphs are kept: ``RFCALC_CACHE_DIR``, or the user's cache folder; None if that variable is empty."""
    named = os.environ.get("RFCALC_CACHE_DIR")
    if named is not None:
        return Path(named) if named else None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "rfcalc" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rfcalc"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rfcalc"


# --- the zoo ----------------------------------------------------------------------------------------------------------


def _shipped(wanted: Wanted) -> LayerGraph | None:
    """The graph that ships with rfcalc, for an architecture on the input it was published with."""
    usual = CATALOG[wanted.spec].input_shape
    given = tuple(wanted.inputs) if isinstance(wanted.inputs, list) else wanted.inputs
    if wanted.axes is not None or wanted.training or not _plain(given) or given not in (None, usual, (1, *usual)):
        return None
    try:
        text = zlib.decompress((SHIPPED / f"{wanted.spec}.json.gz").read_bytes(), _GZIP)
    except FileNotFoundError:  # an architecture that was added since they were written
        return None
    return graph_json.from_json(json.loads(text), wanted.spec, trusted=True)


def packed(text: str) -> bytes:
    """A text in gzip's format, without a time, so that the same text gives the same file."""
    packer = zlib.compressobj(9, wbits=_GZIP)
    return packer.compress(text.encode()) + packer.flush()


# --- libraries --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """A file of the cache, and the key that stands in it."""

    key: list[Any]
    path: Path


def _place(wanted: Wanted) -> _Place | None:
    """Where the graph of a library's model belongs; None for what is not kept."""
    library, colon, _ = wanted.spec.partition(":")
    if _use.get() != "kept" or _foreign or not colon or library not in LIBRARIES:
        return None
    home, request = folder(), wanted.texts
    if home is None or request is None:
        return None
    releases = [release(name) for name in (library, "torch")]
    if None in releases:
        return None
    from hashlib import sha256

    key = json.loads(json.dumps([graph_json.SCHEMA, *request, *releases, _own_release()]))
    digest = sha256(json.dumps(key).encode()).hexdigest()
    return _Place(key, home / "graphs" / f"{digest[:40]}.json.gz")


def release(package: str) -> list[Any] | None:
    """What tells one installation of a package from another; None where its code may change without a new version.

    That is so for a checkout, be it installed as such or found first on the path.
    """
    from importlib.metadata import PackageNotFoundError, distribution
    from importlib.util import find_spec

    try:
        found = distribution(package)
        spec = find_spec(package)
    except (PackageNotFoundError, ImportError, ValueError):
        return None
    record = found.read_text("direct_url.json") or ""
    if spec is None or spec.origin is None or '"dir_info"' in record:
        return None
    installed = Path(str(found.locate_file(package))) / "__init__.py"
    with suppress(OSError):
        if installed.samefile(spec.origin):
            return [found.version, installed.stat().st_mtime_ns]
    return None


def _own_release() -> list[int]:
    """What tells one state of rfcalc's own code from another: sizes and times of its files."""
    root = Path(__file__).parent.parent
    names = (os.path.join(part, name) for part, _, inside in os.walk(root) for name in inside if name.endswith(".py"))
    files = [os.stat(name) for name in names]
    return [len(files), sum(file.st_size for file in files), max(file.st_mtime_ns for file in files)]


def _plain(shapes: Any) -> bool:
    """Whether these are numbers, or nested lists of numbers and names."""
    if isinstance(shapes, list | tuple):
        return all(map(_plain, shapes))
    return shapes is None or type(shapes) in (int, str)
