"""Every way to name a model, once: what is typed, what it names, what it needs; help and hints derive from it.

A new source is one `Form` in `FORMS`, in the place where it is to be asked, and a module of this package with
``load(spec)``. The record says by ``prefix`` or ``suffixes`` which texts are its own; with ``looks`` the module has
``matches(spec)`` too, which looks closer. A source that can list its models has ``names()``, and ``listed`` says so.

What derives from it: the order in which sources are asked (`rfcalc.sources.load`), `help_lines` (the help of every
command with a MODEL), `hint` (the error for a name that nobody knows), `missing` (the error for a package that is not
installed), `table` (the table of docs/sources.md, which a test holds against it), globs of `rfcalc sweep`, and whose
graphs are kept. Reading this file imports nothing but Python's own modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from rfcalc.errors import LoadError


class Source(Protocol):
    """What the module of a form has."""

    def load(self, spec: str) -> Any:
        """The model that the text names, as `Loaded`, or its graph."""


@dataclass(frozen=True)
class Form:
    """A way to name a model.

    ``name`` is the key; ``home`` the module below `rfcalc.sources`. ``written`` is what a user types, ``what`` what it
    names, in a line of plain words, and ``more`` what only the documents add. ``prefix`` ("timm:") or ``suffixes``
    (".onnx") tell the texts that are its own; ``looks`` says that the module decides. ``needs`` are packages that have
    to be installed, ``extra`` is the extra of rfcalc's that brings them. ``runs_code`` is true where code of the user's
    or of a file's may run, ``listed`` where the module can list its names, and ``kept`` where graphs are kept from one
    run to the next.
    """

    name: str
    home: str
    written: tuple[str, ...]
    what: str
    more: str = ""
    prefix: str = ""
    suffixes: tuple[str, ...] = ()
    looks: bool = False
    needs: tuple[str, ...] = ()
    extra: str = ""
    runs_code: bool = False
    listed: bool = False
    kept: bool = False

    @property
    def source(self) -> Source:
        """The module that loads it."""
        return cast(Source, import_module(f"rfcalc.sources.{self.home}"))

    def matches(self, spec: str) -> bool:
        """Whether the text has this form."""
        if self.prefix or self.suffixes:
            prefixed = bool(self.prefix) and spec.startswith(self.prefix)
            if not prefixed and not spec.lower().endswith(self.suffixes):
                return False
        return not self.looks or bool(cast(Any, self.source).matches(spec))

    def names(self) -> list[str]:
        """The names of all its models, without the prefix. Raises `LoadError` where the library is not installed."""
        return list(cast(Any, self.source).names())


#: In the order in which they are asked.
FORMS = (
    Form(
        "zoo",
        "libraries.zoo",
        ("vgg16",),
        "an architecture of rfcalc's own: see rfcalc list",
        looks=True,
        listed=True,
    ),
    Form(
        "stack",
        "stack",
        ('"3x3 3x3"', '"5x5:480-48"'),
        "a stack: KxK:IN-OUT channels, /S stride, dD dilation, pP padding, maxK and avgK pooling",
        looks=True,
    ),
    Form(
        "config",
        "files.config",
        ("hf:PATH", "config.json"),
        "a folder or a file with the description that transformers, diffusers, timm or Keras saved",
        "without weights; a folder or file without the prefix is looked into",
        looks=True,
        runs_code=True,
    ),
    Form(
        "graph",
        "files.saved",
        ("graph.json",),
        "what rfcalc trace saved",
        "reading it needs no torch",
        suffixes=(".json",),
    ),
    Form(
        "exported",
        "exported",
        ("model.pt2",),
        "a program that torch.export.save wrote",
        suffixes=(".pt2",),
        runs_code=True,
    ),
    Form(
        "torchscript",
        "torchscript",
        ("model.pt", "model.torchscript"),
        "a program that torch.jit.save wrote, scripted or traced",
        suffixes=(".pt", ".pth", ".torchscript", ".ts", ".ptl", ".jit"),
        looks=True,
        runs_code=True,
    ),
    Form(
        "onnx",
        "onnx",
        ("model.onnx",),
        "a network in the ONNX format",
        suffixes=(".onnx",),
        needs=("onnx",),
        extra="onnx",
        runs_code=True,
    ),
    Form(
        "tflite",
        "tflite",
        ("model.tflite",),
        "a network in TensorFlow Lite's format",
        suffixes=(".tflite",),
        needs=("tflite",),
        extra="tflite",
        runs_code=True,
    ),
    Form(
        "torchvision",
        "libraries.torchvision",
        ("torchvision:NAME",),
        "a model of torchvision's",
        "classification, segmentation, detection, video, optical flow, and the float versions of quantizable ones",
        prefix="torchvision:",
        needs=("torchvision",),
        extra="torchvision",
        listed=True,
        kept=True,
    ),
    Form(
        "timm",
        "libraries.timm",
        ("timm:NAME",),
        "a model of timm's",
        prefix="timm:",
        needs=("timm",),
        extra="timm",
        listed=True,
        kept=True,
    ),
    Form(
        "transformers",
        "libraries.transformers",
        ("transformers:CLASS",),
        "a class of transformers', by the defaults of its configuration: BertModel(num_hidden_layers=2)",
        prefix="transformers:",
        needs=("transformers",),
        extra="transformers",
    ),
    Form(
        "diffusers",
        "libraries.diffusers",
        ("diffusers:CLASS",),
        "a network of diffusers', by the defaults of its constructor: UNet2DModel(sample_size=32)",
        prefix="diffusers:",
        needs=("diffusers",),
        extra="diffusers",
    ),
    Form(
        "keras",
        "keras",
        ("keras:NAME", "model.keras", "model.h5"),
        "a model of keras.applications, or a file that Keras saved",
        "[keras.md](keras.md)",
        prefix="keras:",
        suffixes=(".keras", ".h5", ".hdf5"),
        needs=("keras",),
        extra="keras",
        runs_code=True,
        listed=True,
    ),
    Form(
        "jax",
        "jax",
        ("jax:package.module:fn",),
        "a function of JAX's, or a module of Flax (nnx, linen), Equinox, Haiku, or Keras on JAX",
        "the prefix may be left out where the code uses one of them",
        prefix="jax:",
        needs=("jax",),
        extra="jax",
        runs_code=True,
    ),
    Form(
        "python",
        "python",
        ("package.module:attr", "path/file.py:attr"),
        "a module of yours, or a callable that makes one; its keyword arguments follow it: attr(depth=50)",
        "a `torch.nn.Module` or a Keras model; its code is run",
        looks=True,
        runs_code=True,
    ),
)

#: What no form knows, and is or looks like a file: each is told why it holds no model.
OTHERS = "files.others"

_BY_NAME = {form.name: form for form in FORMS}


def form(name: str) -> Form:
    """The form of that key."""
    return _BY_NAME[name]


def listed() -> dict[str, Form]:
    """The forms whose models can be listed, by the prefix of their names without the colon; "" is rfcalc's own."""
    return {item.prefix.removesuffix(":"): item for item in FORMS if item.listed}


def texts() -> Iterator[str]:
    """Everything that may be typed, as examples."""
    for item in FORMS:
        yield from item.written


def hint() -> str:
    """The forms other than a name of rfcalc's own, as an error lists them."""
    return ", ".join(text for item in FORMS if item.name not in ("zoo", "stack") for text in item.written)


def install(extra: str) -> str:
    """The command that brings what a form needs."""
    return f"pip install 'rfcalc[{extra}]'"


def missing(name: str, spec: str) -> LoadError:
    """The error for a text whose form needs packages that are not installed."""
    known = form(name)
    are = "are" if len(known.needs) > 1 else "is"
    return LoadError(f"{spec} needs {' and '.join(known.needs)}, which {are} not installed: {install(known.extra)}")


def check_ready(name: str, spec: str) -> None:
    """Raises `LoadError` where there is no file as the text names it, or what its form needs is not installed."""
    if not Path(spec).exists():
        raise LoadError(f"{spec}: there is no such file")
    for package in form(name).needs:
        try:
            import_module(package)
        except ImportError:
            raise missing(name, spec) from None


def help_lines(width: int = 92) -> str:
    """The forms and what they name, in two columns, for the help of a command."""
    import textwrap

    left = max(map(len, texts())) + 2
    lines: list[str] = []
    for item in FORMS:
        told = textwrap.wrap(item.what, width - left - 2)
        rows = max(len(told), len(item.written))
        for at in range(rows):
            head = item.written[at] if at < len(item.written) else ""
            lines.append(f"  {head:<{left}}{told[at] if at < len(told) else ''}".rstrip())
    return "\n".join(lines)


def table() -> str:
    """The table of docs/sources.md."""
    rows = ["| form | what | needs |", "|---|---|---|"]
    for item in FORMS:
        typed = ", ".join(f"`{text}`" for text in item.written)
        what = f"{item.what}; {item.more}" if item.more else item.what
        rows.append(f"| {typed} | {what} | {f'`rfcalc[{item.extra}]`' if item.extra else ''} |")
    return "\n".join(rows) + "\n"
