"""The check of receptive fields: poisoned rows, finite changes where NaN cannot tell, then the verdict by layer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from rfcalc.checking.batching import find_stacking, most_copies, single
from rfcalc.checking.device import free_memory
from rfcalc.checking.first_pass import FirstPass
from rfcalc.checking.perturb import changed_by, key_of
from rfcalc.checking.poison import Doubt, Poisoner, region_of
from rfcalc.checking.regions import AxisRegions, along_axes, choose_rows, untold
from rfcalc.checking.results import Check, Difference
from rfcalc.checking.subject import Subject
from rfcalc.graph import ORDERED, Node, Ref


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Ops through which NaN may not come although they read it.
SWALLOW = _words(
    """where nan_to_num masked_fill masked_scatter argmax argmin eq ne lt le gt ge isnan isfinite isinf logical_and
    logical_or logical_not sign sgn signbit _linalg_slogdet fmax fmin embedding index gather bucketize searchsorted sort
    topk nms quantize_per_tensor quantize_per_channel fake_quantize_per_tensor_affine_cachemask int8_scaled_mm
    fake_quantize_per_channel_affine_cachemask _fake_quantize_per_tensor_affine_cachemask_tensor_qparams
    _fused_moving_avg_obs_fq_helper"""
)
#: Ops that multiply by a weight that may be exactly 0, or mask by a finite number: NaN comes through all the same.
SPREAD = _words(
    """bmm baddbmm matmul einsum softmax _softmax _safe_softmax _log_softmax scaled_dot_product_attention grid_sampler
    grid_sampler_2d grid_sampler_3d lerp roi_align deform_conv2d cumprod"""
)
#: Ops that round to integers by a scale that they take of their whole input, or of a row: a change anywhere may change
#: a bit everywhere, and NaN has no place in it.
_ROUNDING = ("_dynamic", "choose_qparams", "quantized.quantized_", "aten.quantized_lstm", "aten.quantized_gru")
_BY_ALL = "rounds to integers by a scale taken of all its input, so a change anywhere may change a bit everywhere"
_ROWS_OF_INTEGERS = 4  #: how many rows are tried on outputs that cannot hold NaN
_ROWS_OF_ALL = 2  #: how many rows are changed by a finite amount, whatever NaN shows; one of a large network
_LARGE = 100  #: ops


@dataclass
class _Verdict:
    """What is found about layers, by node."""

    differences: dict[int, Difference] = field(default_factory=dict)
    second: set[int] = field(default_factory=set)
    unwitnessed: set[int] = field(default_factory=set)
    still: set[int] = field(default_factory=set)  #: an end moved by NaN and by no finite change
    noisy: set[int] = field(default_factory=set)  #: that give other numbers each time
    bounds: set[int] = field(default_factory=set)


def check_fields(subject: Subject, first_pass: FirstPass, probes: int, seed: int, batch: int | None) -> Check:
    """Hold every region of every node against poisoned and changed inputs."""
    records = subject.records[: first_pass.matched]
    if first_pass.misshapen:
        return Check("receptive_fields", 0, 0, (), ("not compared: positions cannot be matched where shapes differ",))
    rounded = next((record for record in records if _rounds_by_all(record)), None)
    if rounded is not None:
        return Check("receptive_fields", 0, 0, (), (f"not compared: {rounded.name} ({rounded.op}) {_BY_ALL}",))
    notes: list[str] = []
    poisoner = _poisoner(subject, first_pass, batch, notes)
    verdict = _Verdict()
    doubts: list[Doubt] = []
    compared: set[int] = set()
    moved = {record.id for record in records if ORDERED in record.notes}
    missed = 0
    used = {ref for record in records for ref in record.inputs} | set(subject.graph.outputs)
    given = subject.graph.meta.get("given", ())
    notes += [f"{name}: not changed, for the values given for it decide what is computed" for name in given]
    for along in along_axes(subject.graph):
        if along.extent < 1 or along.source.name in given:
            continue
        if first_pass.inputs.sparse(along.number):
            notes.append(f"{along.source.name} {along.name}: not changed, for the input is sparse")
            continue
        rows = choose_rows(along, probes, seed)
        missed += untold(along, rows)
        found, seen = poisoner.probe(along, rows)
        doubts += [doubt for doubt in found if doubt.ident < len(records)]
        doubts += _unable(records, along, rows, first_pass, used)
        doubts += _all(records, along, rows, first_pass, used)
        if poisoner.unbearable:
            notes.append(
                f"{along.source.name} {along.name}: {poisoner.unbearable} cannot stand NaN; from there on,"
                f" {len(records) - seen} ops are checked by finite changes alone"
            )
            seen = len(records)
        for record in records[:seen]:
            outputs = along.by_node[record.id]
            compared |= {record.id} if any(outputs) and record.id not in moved else set()
            verdict.bounds |= {record.id} if any(held and held.bound for held in outputs) else set()
        notes.append(f"{along.source.name} {along.name}: rows {', '.join(map(str, rows))} of {along.extent}")
        if seen < len(records):
            lost = len(records) - seen
            notes.append(f"{along.source.name} {along.name}: NaN led the forward pass astray; {lost} ops not seen")
    if moved:
        names = [records[ident].name for ident in sorted(moved)]
        notes.append(
            f"not compared, for their rows stand where values put them, until they are put back: {_listed(names)}"
        )
    doubts = [doubt for doubt in doubts if doubt.ident not in moved]
    _decide(subject, first_pass, seed, doubts, verdict, notes)
    notes += [*_buffers(subject, first_pass), *_summary(records, verdict, missed)]
    differences = tuple(verdict.differences[ident] for ident in sorted(verdict.differences))
    compared |= set(verdict.differences)
    return Check("receptive_fields", len(compared), len(compared) - len(differences), differences, tuple(notes))


def _rounds_by_all(record: Node) -> bool:
    if record.inputs and record.attrs.get("observer_on"):
        return True
    kernel = record.op.startswith(("quantized", "aten.quantize", "aten.choose"))
    return kernel and any(part in record.op for part in _ROUNDING) and "fp16" not in record.op


def _poisoner(subject: Subject, first_pass: FirstPass, batch: int | None, notes: list[str]) -> Poisoner:
    ops = first_pass.ops[: first_pass.matched]
    whole = first_pass.matched == len(first_pass.ops) == len(subject.records)
    stacking = None
    if whole and (batch is None or batch > 1):
        stacking = find_stacking(subject, first_pass.standins, first_pass.inputs, ops)
        if stacking is None:
            notes.append("one poisoned input at a time: the examples of a batch cannot be told apart in every op")
    most = min(batch or 64, most_copies(subject.records, free_memory(first_pass.standins.device)))
    return Poisoner(subject, first_pass.standins, first_pass.inputs, single(ops), stacking, first_pass.unusable, most)


def _unable(
    records: Sequence[Node], along: AxisRegions, rows: Sequence[int], first_pass: FirstPass, used: Collection[Ref]
) -> list[Doubt]:
    """Doubts about outputs that NaN says nothing of: integers that something reads, and what is NaN unpoisoned."""
    found = []
    step = max(1, len(rows) // _ROWS_OF_INTEGERS)
    for record in records:
        if not record.inputs:
            continue
        for number, held in enumerate(along.by_node.get(record.id, ())):
            told = first_pass.holds_nan(record, number) and (record.id, number) not in first_pass.unusable
            if held is None or told or Ref(record.id, number) not in used:
                continue
            region = held.combined()
            found += [Doubt(record.id, number, along, row, region) for row in rows[::step]]
    return found


def _all(
    records: Sequence[Node], along: AxisRegions, rows: Sequence[int], first_pass: FirstPass, used: Collection[Ref]
) -> list[Doubt]:
    """What the second method looks at whatever NaN shows: all that something reads, over a few of the rows."""
    found = []
    count = _ROWS_OF_ALL if len(records) <= _LARGE else 1
    chosen = [rows[at * len(rows) // (count + 1)] for at in range(1, count + 1)]
    for record in records:
        for number in range(len(record.outputs) if record.inputs else 0):
            told = first_pass.holds_nan(record, number) and (record.id, number) not in first_pass.unusable
            if told and Ref(record.id, number) in used:
                region = region_of(along, record, number)
                found += [Doubt(record.id, number, along, row, region, plain=True) for row in dict.fromkeys(chosen)]
    return found


# --- the verdict ------------------------------------------------------------------------------------------------------


def _decide(
    subject: Subject, first_pass: FirstPass, seed: int, doubts: Sequence[Doubt], verdict: _Verdict, notes: list[str]
) -> None:
    if not doubts:
        return
    records = subject.records
    swallowed, spread = _downstream(records, first_pass)
    sizes = (1.0, 1.0) if any(record.masked for record in records) else (1.0, 30.0)
    open_ = [doubt for doubt in doubts if doubt.excess is None or spread[doubt.ident] or swallowed[doubt.ident]]
    changed, how, verdict.noisy = (
        changed_by(subject, first_pass.standins.device, seed, first_pass.gain, open_, sizes)
        if open_
        else ({}, "", set())
    )
    if open_ and not how:
        notes.append("the second method could not run this model with changed inputs")
    for doubt in sorted(doubts, key=lambda item: item.ident):
        seen = changed.get(key_of(doubt))
        _judge(records[doubt.ident], doubt, seen, swallowed[doubt.ident], spread[doubt.ident], verdict)
    if verdict.second:
        names = [records[ident].name for ident in sorted(verdict.second)]
        notes.append(f"decided by the second method, a finite change in {how}: {_listed(names)}")
    looked = {doubt.ident for doubt in doubts if doubt.plain and key_of(doubt) in changed}
    if looked:
        notes.append(f"held against a finite change in {how} as well: {len(looked)} ops")


def _judge(
    record: Node, doubt: Doubt, seen: np.ndarray | None, swallowed: bool, spread: bool, verdict: _Verdict
) -> None:
    """One doubt: a difference, settled by the second method, or not witnessed."""
    row = np.asarray(doubt.row)
    if doubt.plain:
        _judge_plain(record, doubt, seen, verdict)
        return
    if seen is not None:
        verdict.second.add(record.id)
        outside = seen & ~doubt.region.reads(row)
        if outside.any():
            _differ(record, doubt, outside, True, verdict)
            return
    if doubt.excess is not None and not (spread and seen is not None):
        _differ(record, doubt, doubt.excess, True, verdict)
        return
    if doubt.missing is not None:
        left = doubt.missing if seen is None else doubt.missing & ~seen
        if left.any() and not swallowed:
            _differ(record, doubt, left, False, verdict)
        elif left.any():
            verdict.unwitnessed.add(record.id)
    elif doubt.excess is None and not doubt.region.bound:
        ends = doubt.region.ends(row)
        if seen is None or (ends & ~seen).any():
            verdict.unwitnessed.add(record.id)


def _judge_plain(record: Node, doubt: Doubt, seen: np.ndarray | None, verdict: _Verdict) -> None:
    """What the second method shows by itself: nothing outside the region moves, and each end does, or is named."""
    if seen is None:
        return
    row = np.asarray(doubt.row)
    outside = seen & ~doubt.region.reads(row)
    if outside.any():
        _differ(record, doubt, outside, True, verdict)
    elif not doubt.region.bound and (doubt.region.ends(row) & ~seen).any():
        verdict.still.add(record.id)


def _differ(record: Node, doubt: Doubt, where: np.ndarray, reads: bool, verdict: _Verdict) -> None:
    """Note a difference; the first one of a layer stands for all."""
    if record.id in verdict.differences:
        return
    place = tuple(int(at) for at in np.argwhere(where)[0])
    unit = ",".join(
        str(at) if extent > 1 or size == 1 else "*"
        for at, extent, size in zip(place, doubt.region.first.shape, record.outputs[doubt.output].shape, strict=True)
    )
    first, last = (int(side[place]) for side in (doubt.region.first, doubt.region.last))
    axis = f"{doubt.along.source.name} {doubt.along.name}"
    region = f"[{first}, {last}]" if first <= last else "nothing"
    verdict.differences[record.id] = Difference(
        record.name,
        f"unit ({unit}) reads {region} of {axis}",
        f"{'reads' if reads else 'does not read'} {doubt.row}",
    )


def _downstream(records: Sequence[Node], first_pass: FirstPass) -> tuple[list[bool], list[bool]]:
    """Which nodes come after (or are) an op that may swallow NaN, and one that may spread it."""
    swallowed: list[bool] = []
    spread: list[bool] = []
    for record in records:
        op = record.op.rpartition(".")[2].removesuffix("_")
        before = [ref.node for ref in record.inputs]
        mute = bool(record.inputs and record.outputs) and not first_pass.holds_nan(record, 0)
        swallowed.append(op in SWALLOW or mute or any(swallowed[ident] for ident in before))
        weighs = op in SPREAD or op.startswith("upsample") or record.masked or (op == "mul" and len(before) == 1)
        spread.append(weighs or any(spread[ident] for ident in before))
    return swallowed, spread


def _summary(records: Sequence[Node], verdict: _Verdict, missed: int) -> list[str]:
    notes = []
    if verdict.differences:
        first = min(verdict.differences)
        notes.append(f"the first layer that differs is {records[first].name}; those after it may only follow from it")
    if verdict.unwitnessed:
        names = [records[ident].name for ident in sorted(verdict.unwitnessed - set(verdict.differences))]
        notes.append(f"an end of the region not witnessed, none contradicted: {_listed(names)}")
    still = verdict.still - verdict.unwitnessed - set(verdict.differences)
    if still:
        names = [records[ident].name for ident in sorted(still)]
        notes.append(f"an end of the region that no finite change moved, read by structure: {_listed(names)}")
    if verdict.noisy:
        names = [records[ident].name for ident in sorted(verdict.noisy)]
        notes.append(f"not held against finite changes, for they give other numbers each time: {_listed(names)}")
    if verdict.bounds:
        names = [records[ident].name for ident in sorted(verdict.bounds)]
        notes.append(f"an upper bound, checked for reading no more: {_listed(names)}")
    if missed:
        notes.append(f"{missed} kinds of ends of regions lie on no chosen row: more --probes reach more of them")
    return notes


def _buffers(subject: Subject, first_pass: FirstPass) -> list[str]:
    drawn, kept = len(first_pass.standins.drawn), subject.leaned_on
    notes = [f"floating-point buffers hold other numbers than the model's: {drawn}"] if drawn else []
    return notes + ([f"numbers of buffers that decide what is read: {', '.join(kept)}"] if kept else [])


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} ops: {', '.join(names[:most])}{more}"
