"""A counting convention as data: rules over the ops and module calls of a graph, and the engine that applies them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rfcalc.conventions.facts import CallSite, Facts, OpSite, Site
from rfcalc.conventions.records import Part, Tally, Term

#: What a pass goes over, and what the keys of its rules are: ops by name (``aten.relu_`` is also ``aten.relu``), ops by
#: the function of torch's that runs them, module calls by class, module calls by class or base class, and buffers by
#: the last part of their name. The key ``*`` fits everything.
Over = Literal["ops", "functions", "modules", "classes", "buffers"]

Count = Callable[[Any], int | None]


@dataclass(frozen=True)
class Rule:
    """What a tool counts for one kind of op, function or module.

    ``count`` gives the number for a site, None where the rule does not apply to it after all. With ``products`` the
    number stands in the place of rfcalc's multiply-adds of the site, and only the difference is a term; without, it is
    counted besides. ``fault`` says what is wrong with it, empty for a mere convention.
    """

    keys: tuple[str, ...]
    label: str
    count: Count
    products: bool = False
    fault: str = ""


@dataclass(frozen=True)
class Pass:
    """Rules that exclude each other: the first that applies to a site counts.

    With ``live`` the tool sees only ops whose results are used, as torch.jit's tracer leaves out the others. What a
    module counts that stands at n places of the model counts n to the power of ``per_place`` times.
    """

    over: Over
    rules: tuple[Rule, ...]
    live: bool = False
    per_place: int = 0


@dataclass(frozen=True)
class Miss:
    """A term that no rule has a label for: products that are not counted at all, or counted more than once."""

    label: str
    fault: str


@dataclass(frozen=True)
class Convention:
    """How one tool counts, in the version whose source was read and which was run.

    ``passes`` add up. ``misses`` explains products that no rule covers, by the op's kind; "" is any other kind.
    ``refuses`` says why the tool has no number for a graph, "" where it has. ``caveat`` is what the tool counts by
    facts that no graph has. ``again`` is said of products that a second rule covers. Inside modules of ``opaque``
    classes the tool looks at no others. ``copies`` is said of what a module that stands at several places of the model
    counts at the further ones.
    """

    name: str
    version: str
    call: str  #: what the user runs
    passes: tuple[Pass, ...]
    misses: Mapping[str, Miss]
    prints: str = "multiply-adds"
    factor: int = 1
    unit: str = "multiply-adds"
    refuses: Callable[[Facts], str] = lambda facts: ""
    caveat: str = ""
    again: Miss = Miss("products counted once more", "")
    opaque: tuple[str, ...] = ()
    copies: Miss = Miss("modules at several places of the model", "")


def ours(site: Site) -> int:
    """rfcalc's own number."""
    return site.macs


def counted(site: Site) -> int | None:
    """rfcalc's own number; None for the views and copies among the ops of one function."""
    return site.macs or None


def products(*keys: str, count: Count = ours, label: str = "", fault: str = "") -> Rule:
    """The tool counts multiply-adds here; with its own ``count`` a difference from rfcalc's is the term ``label``."""
    return Rule(keys, label, count, True, fault)


def extra(label: str, *keys: str, count: Count, fault: str = "") -> Rule:
    """The tool counts this besides the multiply-adds."""
    return Rule(keys, label, count, False, fault)


def missing(tool: str, **labels: str) -> dict[str, Miss]:
    """Why products are missed: what a user calls each kind of op, and that the tool has no rule for it."""
    names = {"attention": "scaled_dot_product_attention", "recurrent": "recurrent layers", **labels}
    found = {kind: Miss(f"{name} missed", f"{tool} counts 0 for {name}") for kind, name in names.items()}
    return {**found, "": Miss("products of other functions missed", f"{tool} counts 0 for products of some functions")}


def copies(tool: str) -> Miss:
    """What a tool counts that walks the tree of modules and meets one of them several times."""
    return Miss(
        "modules at several places of the model: all calls counted for each place",
        f"{tool} counts all calls of a module again for each further place where it stands in the model",
    )


#: A term of every tool: all of them multiply a tensor's numbers whatever these are.
_COMPLEX = "products of complex numbers: 1 multiply-add each, not the 4 of real ones"


# --- applying them ----------------------------------------------------------------------------------------------------


def apply(convention: Convention, facts: Facts) -> Tally:
    """The tool's number for the graph, as rfcalc's and the terms between the two."""
    ledger = Ledger()
    for group in convention.passes:
        _apply(convention, group, facts, ledger)
    multiply_adds = sum(node.macs or 0 for node in facts.graph)
    parameters = sum(param.numel for param in facts.graph.params if not param.shared_with)
    of_parameters = convention.unit == "parameters"
    if not of_parameters:
        for site in facts.ops():
            ledger.note(_COMPLEX, "", site.name, site.macs - (facts.graph[site.node.id].macs or 0))
            if site.macs and site.node.id not in ledger.covered:
                miss = _miss(convention, facts, site)
                ledger.note(miss.label, miss.fault, site.name, -site.macs)
    return Tally(
        tool=convention.name,
        version=convention.version,
        call=convention.call,
        unit=convention.unit,
        prints=convention.prints,
        factor=convention.factor,
        base=parameters if of_parameters else multiply_adds,
        total=ledger.counted + (parameters if of_parameters else 0),
        terms=ledger.terms(),
        refused=convention.refuses(facts),
        caveat=convention.caveat,
    )


def _miss(convention: Convention, facts: Facts, site: OpSite) -> Miss:
    """Why an op's products are not counted."""
    if site.node.id not in facts.live and any(group.live for group in convention.passes):
        return Miss("products whose result is never used: not in torch.jit's trace", "")
    kind = "attention" if site.in_attention else site.node.kind
    return convention.misses.get(kind) or convention.misses[""]


class Ledger:
    """Terms under construction."""

    def __init__(self) -> None:
        self.counted = 0  #: everything that the rules count
        self.covered: set[int] = set()  #: nodes whose multiply-adds the tool counts, rightly or wrongly
        self._parts: dict[tuple[str, str], list[Part]] = {}

    def add(self, rule: Rule, site: Site, amount: int, again: Miss) -> None:
        """What a rule counts for a site."""
        self.counted += amount
        label, fault = rule.label, rule.fault
        if rule.products:
            new = [node for node in site.nodes if node.id not in self.covered]
            if site.macs and not any(node.macs for node in new):
                label, fault = again.label, again.fault
            self.covered |= {node.id for node in new}
            amount -= sum(node.macs or 0 for node in new)
        self.note(label, fault, site.name, amount)

    def repeat(self, why: Miss, site: Site, amount: int) -> None:
        """What the tool counts besides as a module stands at several places of the model."""
        self.counted += amount
        self.note(why.label, why.fault, site.name, amount)

    def note(self, label: str, fault: str, layer: str, amount: int) -> None:
        """An amount of a term; nothing where it is 0."""
        if amount:
            self._parts.setdefault((label, fault), []).append(Part(layer, amount))

    def terms(self) -> tuple[Term, ...]:
        """The terms, in the order of the rules."""
        return tuple(
            Term(label, sum(part.amount for part in parts), tuple(parts), fault)
            for (label, fault), parts in self._parts.items()
        )


def _apply(convention: Convention, group: Pass, facts: Facts, ledger: Ledger) -> None:
    table: dict[str, list[Rule]] = {}
    for rule in group.rules:
        for key in rule.keys:
            table.setdefault(key, []).append(rule)
    hidden: set[int] = set()  # module calls inside those of opaque classes
    for keys, site in _sites(facts, group.over):
        if isinstance(site, CallSite) and (site.call.parent in hidden or site.within(convention.opaque)):
            hidden.add(site.call.number)
            continue
        if group.live and not facts.live.issuperset(node.id for node in site.nodes):
            continue
        for rule in _fitting(table, keys):
            amount = rule.count(site)
            if amount is not None:
                ledger.add(rule, site, amount, convention.again)
                ledger.repeat(convention.copies, site, amount * (site.places**group.per_place - 1))
                break


def _fitting(table: Mapping[str, Sequence[Rule]], keys: Sequence[str]) -> Iterator[Rule]:
    for key in (*keys, "*"):
        yield from table.get(key, ())


def _sites(facts: Facts, over: Over) -> Iterator[tuple[tuple[str, ...], Site]]:
    """Every site of a pass with the keys that fit it, the narrowest first."""
    if over == "buffers":
        return (((site.buffer.name.rpartition(".")[2],), site) for site in facts.buffers())
    if over == "modules":
        return ((site.types[:1], site) for site in facts.module_calls())
    if over == "classes":
        return ((site.types, site) for site in facts.module_calls())
    if over == "functions":
        return (((site.function,), site) for site in facts.ops())
    return (((site.node.op, site.node.op.removesuffix("_")), site) for site in facts.ops())


__all__ = ["CallSite", "Convention", "Facts", "Ledger", "Miss", "OpSite", "Pass", "Rule", "Site", "apply", "copies"]
__all__ += ["counted", "extra", "missing", "ours", "products"]
