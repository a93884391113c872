"""What a file that some framework saved holds, told from its first bytes and the names inside. Nothing of it is run."""

from __future__ import annotations

import os
import pickletools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from pathlib import Path
from typing import IO

from rfcalc.reading import check_archive, opened
from rfcalc.sources.files.opening import in_one_line

_CODE = "name the code that makes the model (file.py:attr, package.module:attr)"
_EXPORT = "export the model: torch.export.save(torch.export.export(model, inputs), 'model.pt2')"


class Kind(Enum):
    """What a file holds."""

    PROGRAM = auto()  #: what torch.export.save wrote
    SCRIPT = auto()  #: what torch.jit.save wrote
    WEIGHTS = auto()  #: numbers by name, without a network
    OTHER = auto()


@dataclass(frozen=True)
class Held:
    """What a file holds, as an error says it: ``text`` follows "FILE is no ...:", ``advice`` says what to do."""

    kind: Kind
    text: str = ""
    advice: str = f"{_CODE}, or {_EXPORT}"


def is_description(name: str) -> bool:
    """Whether a file inside an archive describes an exported program."""
    return name.partition("/")[2].startswith("models/") or name == _BEFORE_2_8


def held(path: Path, spec: str) -> Held:
    """What the file holds. Raises `LoadError` for one that cannot be read."""
    with in_one_line(spec), opened(path) as file:
        return _of_zip(file) if zipfile.is_zipfile(file) else _of_start(file)


_AGAIN = "copy or save it again"
#: The program in files that torch.export wrote before torch 2.8.
_BEFORE_2_8 = "serialized_exported_program.json"
#: The pickle that torch.save began with before it wrote zip files; two more come before the object.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_CUT = Held(Kind.OTHER, "the file is cut short", _AGAIN)
_STARTS: Sequence[tuple[bytes, Held]] = (
    (b"PK\x03\x04", _CUT),
    (b"\x89HDF\r\n\x1a\n", Held(Kind.OTHER, "it is an HDF5 file")),
    (b"GGUF", Held(Kind.WEIGHTS, "it holds weights for llama.cpp", _CODE)),
)


def _of_start(file: IO[bytes]) -> Held:
    file.seek(0)
    start = file.read(64)
    if not start:
        return Held(Kind.OTHER, "the file is empty", _AGAIN)
    for magic, found in _STARTS:
        if start.startswith(magic):
            return found
    if start[8:9] == b"{":  # safetensors: the length of a JSON header, then the header
        return Held(Kind.WEIGHTS, "it holds weights (safetensors), not the network that they are for", _CODE)
    if start.startswith(b"\x80"):
        file.seek(len(_LEGACY) if start.startswith(_LEGACY) else 0)
        return _of_pickle(file, skip=2 if start.startswith(_LEGACY) else 0)
    return Held(Kind.OTHER, "it is in no format that rfcalc knows")


def _of_zip(file: IO[bytes]) -> Held:
    try:
        file.seek(0)
        whole = file.read(4) == b"PK\x03\x04"
        with zipfile.ZipFile(file) as archive:
            if whole and min((item.header_offset for item in archive.infolist()), default=0):
                return _CUT  # what is there is an archive inside it
            check_archive(archive, os.fstat(file.fileno()).st_size)
            names = [name.partition("/")[2] for name in archive.namelist()]  # all lie in one folder
            if any(name.startswith("data/aotinductor/") for name in names):
                return Held(Kind.OTHER, "it holds code compiled by AOTInductor, which rfcalc does not run")
            if any(map(is_description, archive.namelist())):
                return _of_program(names)
            if any(name.startswith("code/") for name in names):
                return Held(Kind.SCRIPT, "it is a TorchScript program (torch.jit.save)")
            pickled = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
            if pickled is not None:
                with archive.open(pickled) as data:
                    return _of_pickle(data)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return Held(Kind.OTHER, f"the file is damaged ({error})", _AGAIN)
    return Held(Kind.OTHER, "it is a zip file without one")


def _of_program(names: Sequence[str]) -> Held:
    if any(name.startswith("data/constants/opaque_obj") for name in names):
        return Held(Kind.OTHER, "it holds pickled objects, and loading those can run any code", _CODE)
    return Held(Kind.PROGRAM)


#: Steps of a pickle that are looked at.
_STEPS = 200_000
#: What a pickle of weights is made of: objects of these modules, or named so.
_PLAIN = (
    *("torch", "collections", "numpy", "_codecs", "builtins", "__builtin__", "copyreg", "copy_reg"),
    *("datetime", "pathlib"),
)
_PLAIN_NAMES = ("argparse.Namespace", "types.SimpleNamespace", "typing.Any")
_LIGHTNING = "pytorch-lightning_version"
#: The modules of torch's in which the classes of layers are.
_LAYERS = "torch.nn.modules."


def _of_pickle(data: IO[bytes], skip: int = 0) -> Held:
    """A pickled object, by the classes that it names: weights are made of tensors and of Python's own things alone."""
    strings: list[str] = []
    named: list[str] = []
    first = ""
    try:
        for _ in range(skip):
            for _ in pickletools.genops(data):
                pass
        for opcode, argument, _ in islice(pickletools.genops(data), _STEPS):
            first = first or ("a dict" if opcode.name in ("EMPTY_DICT", "DICT") else "")
            if opcode.name == "GLOBAL":
                named.append(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                named.append(".".join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
            first = first or (named[0] if named else "")
    except (ValueError, EOFError, IndexError) as error:
        return Held(Kind.OTHER, f"the file is damaged ({error})", _AGAIN)
    if not first:
        return Held(Kind.OTHER, "it is a pickle without a model")
    foreign = [name for name in named if not _is_plain(name)]
    if first == "a dict" or _is_plain(first):
        modules = [name for name in foreign if name.partition(".")[0] != "pytorch_lightning"]
        if modules and _LIGHTNING not in strings:
            return _object(modules[0], "among other things " if first == "a dict" else "")
        return _weights(_LIGHTNING in strings)
    return _object(first)


def _is_plain(name: str) -> bool:
    return name in _PLAIN_NAMES or (name.partition(".")[0] in _PLAIN and not name.startswith(_LAYERS))


def _object(name: str, beside: str = "") -> Held:
    load = "torch.load(file, weights_only=False)"
    return Held(
        Kind.OTHER,
        f"it holds {beside}a pickled {name}, and loading a pickle can run any code",
        f"{_CODE}, which may {load} if you trust the file, or load it yourself and call rfcalc.analyze(model, ...)",
    )


def _weights(lightning: bool = False) -> Held:
    kind = "a checkpoint of Lightning's" if lightning else "a checkpoint (torch.save)"
    return Held(Kind.WEIGHTS, f"it is {kind}: weights by name, not the network that they are for", _CODE)
