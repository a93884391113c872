"""Checks of values: a question to a tensor one of whose answers can only raise.

``if torch.isnan(x).any(): raise ...`` and ``assert (x >= 0).all()`` ask data for numbers that no pass needs: whatever
the other answer leads to is what the model does, or it does nothing. The bytecode of whoever asks tells: from the
branch that it is in the middle of, one way ends in an exception, by every path and without coming back. That one is not
taken. What a function raises and catches itself is no check.
"""

from __future__ import annotations

import dis
from functools import lru_cache
from types import CodeType, FrameType

#: Modules whose frames stand between one that asks and the answer.
_OURS = "rfcalc.tracing."
#: How many instructions a way to an exception may have: what makes its message.
_LONGEST = 400

_LEAVE = frozenset({"RETURN_VALUE", "RETURN_CONST", "YIELD_VALUE", "RETURN_GENERATOR"})
_RAISE = frozenset({"RAISE_VARARGS", "RERAISE"})
#: What begins the end of a ``with``, which raises again what passes through.
_WITH = "WITH_EXCEPT_START"


def answer(caller: FrameType | None) -> bool | None:
    """The truth value with which the model goes on, where it is asked for by a check; None where it is none."""
    while caller is not None and caller.f_globals.get("__name__", "").startswith(_OURS):
        caller = caller.f_back
    return None if caller is None else _passing(caller.f_code, caller.f_lasti)


@lru_cache(4096)
def _passing(code: CodeType, at: int) -> bool | None:
    """The answer to the question at that instruction which does not lead to an exception alone."""
    listing = list(dis.get_instructions(code))
    places = {item.offset: place for place, item in enumerate(listing)}
    place, negated = places.get(at), False
    if place is None:
        return None
    if listing[place].opname == "TO_BOOL":  # Python 3.13 asks by an instruction of its own
        place += 1
    while place < len(listing) and listing[place].opname in ("UNARY_NOT", "CACHE", "TO_BOOL"):
        negated ^= listing[place].opname == "UNARY_NOT"
        place += 1
    if place == len(listing) or "JUMP" not in listing[place].opname or "_IF_" not in listing[place].opname:
        return None
    jump = listing[place]
    if not jump.opname.endswith(("IF_TRUE", "IF_FALSE")):
        return None
    on_jump = jump.opname.endswith("IF_TRUE") ^ negated
    jumps = _only_raises(code, listing, places, places.get(jump.argval, -1))
    falls = _only_raises(code, listing, places, place + 1)
    return None if jumps == falls else (on_jump if falls else not on_jump)


def _only_raises(code: CodeType, listing: list[dis.Instruction], places: dict[int, int], start: int) -> bool:
    """Whether every path from there ends in an exception that leaves the function."""
    handlers = _handlers(code, listing, places)
    waiting, met = [start], set()
    while waiting:
        place = waiting.pop()
        if place in met:
            continue
        met.add(place)
        if not 0 <= place < len(listing) or len(met) > _LONGEST:
            return False
        item = listing[place]
        if item.opname in _LEAVE or "JUMP_BACKWARD" in item.opname or item.opname in ("FOR_ITER", "SEND"):
            return False
        if item.opname in _RAISE:
            if any(start <= item.offset < end for start, end in handlers):
                return False
            continue
        if "JUMP" in item.opname:
            waiting.append(places.get(item.argval, -1))
            if item.opname in ("JUMP_FORWARD", "JUMP"):
                continue
        waiting.append(place + 1)
    return True


def _handlers(code: CodeType, listing: list[dis.Instruction], places: dict[int, int]) -> list[tuple[int, int]]:
    """The parts of a function in which it catches exceptions; the end of a ``with`` raises them again."""
    found = []
    for entry in getattr(dis.Bytecode(code), "exception_entries", ()):
        place = places.get(entry.target, 0)
        first = [item.opname for item in listing[place : place + 3]]
        if _WITH not in first and not entry.lasti:
            found.append((entry.start, entry.end))
    return found
