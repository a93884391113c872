"""Checks of values: a question to a tensor one of whose answers can only raise.

``if torch.isnan(x).any(): raise ...`` and ``assert (x >= 0).all()`` ask data for numbers that no pass needs: whatever
the other answer leads to is what the model does, or it does nothing. The bytecode of whoever asks tells: from the
branch that it is in the middle of, one way ends in an exception, by every path and without coming back. That one is not
taken. What a function raises and catches itself is no check.
"""

from __future__ import annotations

import dis
from bisect import bisect_right
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
    """The truth value with which the model goes on, where it is asked for by a check; None where it is none.

    A function that does no more with ``bool(x)`` than to return it asks for whoever called it.
    """
    while caller is not None and caller.f_globals.get("__name__", "").startswith(_OURS):
        caller = caller.f_back
    called = "bool"
    while caller is not None:
        listing, places = _listed(caller.f_code)
        place = _after(listing, bisect_right([*places], caller.f_lasti) - 1, called)  # it may be behind a cache of it
        if place == len(listing) or listing[place].opname != "RETURN_VALUE":
            return _passing(caller.f_code, place)
        called, caller = caller.f_code.co_name, caller.f_back
    return None


@lru_cache(4096)
def _listed(code: CodeType) -> tuple[list[dis.Instruction], dict[int, int]]:
    """The instructions of a function, and the places among them by their offsets."""
    listing = [item for item in dis.get_instructions(code) if item.opname != "CACHE"]
    return listing, {item.offset: place for place, item in enumerate(listing)}


def _after(listing: list[dis.Instruction], place: int, called: str) -> int:
    """Where the answer is used: right there, or after a call of the function of that name; the end for another call."""
    if place < len(listing) and listing[place].opname == "PRECALL":  # Python 3.11 calls in two steps
        place += 1
    if place == len(listing) or not listing[place].opname.startswith("CALL"):
        return place if called == "bool" else len(listing)
    return place + 1 if _callee(listing, place) == called else len(listing)


def _callee(listing: list[dis.Instruction], place: int) -> str | None:
    """The name of what is called there, found by what was put on the stack before."""
    count = listing[place].arg
    if listing[place].opname != "CALL" or count is None:
        return None
    place, missing = place - (listing[place - 1].opname == "PRECALL"), count + 2
    while place and missing > 0:
        place -= 1
        if "JUMP" in listing[place].opname:
            return None
        missing -= dis.stack_effect(listing[place].opcode, listing[place].arg, jump=False)
    item = listing[place]
    if item.opname == "PUSH_NULL":  # in Python 3.11 before the function, where it is no global one
        item = listing[place + 1]
    return item.argval if isinstance(item.argval, str) else None


@lru_cache(4096)
def _passing(code: CodeType, place: int) -> bool | None:
    """The answer to the question at that place which does not lead to an exception alone."""
    listing, places = _listed(code)
    negated = False
    while place < len(listing) and listing[place].opname in ("UNARY_NOT", "TO_BOOL"):
        negated ^= listing[place].opname == "UNARY_NOT"  # Python 3.13 asks by an instruction of its own
        place += 1
    if place == len(listing) or not listing[place].opname.endswith(("_IF_TRUE", "_IF_FALSE")):
        return None
    jump = listing[place]
    if "JUMP" not in jump.opname:
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
