"""Rules of indexing against poisoned calls: known indices exactly, computed ones as an upper bound."""

import numpy as np
import pytest
import torch

from rfcalc.graph import TensorInfo
from rfcalc.ops import Arg, Call, lookup
from rfcalc.ops._indexing import LIMIT, take
from rfcalc.reads import Slice, Take
from tests.ops._linear import FAR, changed, hold
from tests.ops.finite import rule_on
from tests.ops.oracle import check_call, check_op

aten = torch.ops.aten


def ints(*values):
    return torch.tensor(values)


def told_of(ruled, position, output=0):
    """What is read of one argument, as the rule says it of the position-th tensor."""
    return ruled.told(ruled.args[position][1], output)


# --- embeddings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (2, 3), ()])
def test_embedding_of_known_indices_reads_their_rows(shape):
    table, index = torch.rand(5, 2), torch.randint(0, 5, shape)

    effect = check_op(aten.embedding.default, table, index, const=[index])

    assert effect.inexact == ""
    assert effect.kind == "embedding"
    assert effect.attrs == {"num_embeddings": 5, "embedding_dim": 2}
    assert (effect.macs, dict(effect.flops)) == (0, {})


def test_embedding_of_computed_indices_reads_any_row():
    table, index = torch.rand(5, 2), torch.randint(0, 5, (2, 3))

    assert check_op(aten.embedding.default, table, index).inexact == "data-dependent index"
    assert check_op(aten.embedding.default, table, index, const=[table]).inexact == ""
    told = told_of(rule_on(aten.embedding.default, table, index), 1)
    assert (told == np.eye(6, dtype=bool).reshape(2, 3, 1, 6)).all()


def bag(op, index, offsets, **options):
    table = torch.rand(5, 2)
    return rule_on(op, table, index, offsets, const=[table, offsets], **options)


@pytest.mark.parametrize("op", [aten._embedding_bag.default, aten._embedding_bag_forward_only.default])
def test_embedding_bag_reads_its_bag(op):
    ruled = bag(op, ints(0, 1, 2, 3, 1), ints(0, 2, 3))

    assert ruled.effect.inexact == ""
    assert told_of(ruled, 1)[:, 0].tolist() == [[True, True, False, False, False], [False, False, True, False, False],
                                                [False, False, False, True, True]]  # fmt: skip
    assert ruled.effect.flops == {"reduction": 10}


def test_embedding_bag_where_bags_are_not_known():
    index, offsets, table = ints(0, 1, 2), ints(0, 0, 2), torch.rand(5, 2)

    assert "bags" in bag(aten._embedding_bag.default, index, offsets).effect.inexact
    assert "bags" in rule_on(aten._embedding_bag.default, table, index, ints(0, 2), const=[table]).effect.inexact
    factors = torch.rand(3)
    effect = check_op(aten._embedding_bag.default, table, index, ints(0, 2), False, 0, False, factors, outputs=1)
    assert effect.flops == {"reduction": 6, "elementwise": 6}


def test_embedding_bag_with_factors():
    table, index, offsets = torch.rand(5, 2), ints(0, 1, 2), ints(0, 2)
    args = (table, index, offsets, False, 0, False, torch.rand(3))
    effect = check_op(aten._embedding_bag.default, *args, const=[table, offsets], outputs=1)

    assert effect.inexact == ""


def test_embedding_renorm():
    named = {"self": Arg((5, 4), role="param"), "indices": Arg((3,), "int64"), "max_norm": 1.0, "norm_type": 2.0}
    effect = lookup("aten.embedding_renorm_")(Call("aten.embedding_renorm_", named, [TensorInfo((5, 4))]))

    assert effect.flops == {"norm": 36}


# --- reading by index -------------------------------------------------------------------------------------------------

TRUTH = torch.tensor([[True, False, True], [False, True, False]])
INDICES = [
    ((4, 2), [ints(2, 0, -1)]),
    ((2, 4), [None, ints(3, 3)]),
    ((2, 4), [None, torch.tensor([[0, 1], [2, 3]])]),
    ((2, 3, 2), [None, ints(2, 0), None]),
    ((2, 3, 2), [ints(0, 1, 1), ints(2, 0, 1)]),
    ((2, 3, 2), [None, ints(2, 0), ints(1, 1)]),
    ((2, 3, 2), [ints(1, 0, 1), None, ints(1, 0, 0)]),
    ((2, 3, 2), [torch.tensor([[0], [1]]), ints(0, 2)]),
    ((2, 3, 2), [torch.tensor([[0], [1]]), None, ints(0, 1)]),
    ((2, 3, 2), [TRUTH]),
    ((2, 2, 3), [None, TRUTH]),
    ((2, 3), [None, torch.tensor([True, False, True])]),
    ((2, 3, 2), [TRUTH, ints(0, 1, 1)]),
    ((2, 3, 2, 2), [None, ints(2, 0, 1), None, ints(1, 0, 0)]),
    ((3,), [torch.tensor(2)]),
]


@pytest.mark.parametrize(("shape", "indices"), INDICES)
def test_known_index(shape, indices):
    given = [index for index in indices if index is not None]

    effect = check_op(aten.index.Tensor, torch.rand(shape), indices, const=given)

    assert effect.inexact == ""
    assert effect.kind == "reshape"


@pytest.mark.parametrize(("shape", "indices"), INDICES)
def test_computed_index_reads_whole_axes(shape, indices):
    x = torch.rand(shape)
    effect = check_op(aten.index.Tensor, x, indices)

    assert effect.inexact == "data-dependent index"
    ruled = rule_on(aten.index.Tensor, x, indices)
    for position, index in enumerate((index for index in indices if index is not None), start=1):
        told = told_of(ruled, position)
        if index.dtype == torch.bool:
            assert told.all()
        else:
            assert (told.sum(axis=-1) == 1).all()


def test_an_index_keeps_its_place():
    x, index = torch.rand(2, 4, 3), ints(3, 1)
    ruled = rule_on(aten.index.Tensor, x, [None, index])

    told = told_of(ruled, 1)
    assert told.shape == (2, 2, 3, 2)
    assert (told == np.eye(2, dtype=bool)[None, :, None]).all()


def test_evenly_spaced_indices_are_a_slice():
    assert take(1, [4, 2, 0]) == (Slice(1, 4, -2, 3),)
    assert take(0, [5]) == (Slice(0, 5, 1, 1),)
    assert take(0, [1, 1]) == (Take(0, (1, 1)),)
    assert take(0, [-1, 0, 1]) == (Take(0, (-1, 0, 1)),)
    assert take(0, [0, 1, 3]) == (Take(0, (0, 1, 3)),)


def test_a_parameter_at_computed_places_is_an_embedding():
    named = {"self": Arg((9, 4), role="param"), "indices": (Arg((3, 3), "int64"),)}
    effect = lookup("aten.index")(Call("aten.index", named, [TensorInfo((3, 3, 4))]))

    assert effect.kind == "embedding"
    assert effect.inexact == ""


def test_what_is_known_of_elements_is_carried():
    x, index = torch.rand(3, 3), ints(2, 0)
    mask = np.tri(3, dtype=bool)

    assert (rule_on(aten.index.Tensor, x, [index], const=[index], zero=[(x, mask)]).effect.zero == mask[[2, 0]]).all()
    effect = rule_on(aten.index_select.default, x, 1, index, const=[index], blocked=[(x, mask)]).effect
    assert (effect.blocked == mask[:, [2, 0]]).all()


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_index_select(dim):
    x, index = torch.rand(3, 4, 3), ints(2, 0, 0, 1)

    assert check_op(aten.index_select.default, x, dim, index, const=[index]).inexact == ""
    assert check_op(aten.index_select.default, x, dim, index).inexact == "data-dependent index"
    assert told_of(rule_on(aten.index_select.default, x, dim, index), 1).sum() == x.numel() // x.shape[dim] * 4


def test_index_select_of_a_single_number():
    assert check_op(aten.index_select.default, torch.rand(3), 0, torch.tensor(1), const=[]).inexact
    index = torch.tensor(0)
    assert check_op(aten.index_select.default, torch.rand(()), 0, index, const=[index]).inexact == ""


@pytest.mark.parametrize(
    ("dim", "index"),
    [
        (0, torch.tensor([[1, 1, 1], [0, 0, 0]])),
        (1, torch.tensor([[2, 0], [2, 0], [2, 0]])),
        (1, torch.tensor([[2, 0], [1, 1]])),
        (-1, torch.tensor([[2, 0, 1, 0]])),
        (0, torch.tensor([[0, 1, 2]])),
    ],
)
def test_gather(dim, index):
    x = torch.rand(3, 3)

    assert check_op(aten.gather.default, x, dim, index, const=[index]).inexact == ""
    assert check_op(aten.gather.default, x, dim, index).inexact == "data-dependent index"
    told = told_of(rule_on(aten.gather.default, x, dim, index), 1)
    assert (told.reshape(index.numel(), -1) == np.eye(index.numel(), dtype=bool)).all()


@pytest.mark.parametrize(
    ("dim", "index"), [(1, torch.tensor([[2, 0, 1, 1]])), (None, ints(2, 5, 1)), (None, torch.tensor([[4], [0]]))]
)
def test_take_along_dim(dim, index):
    x = torch.rand(2, 3)

    assert check_op(aten.take_along_dim.default, x, index, dim, const=[index]).inexact == ""
    assert check_op(aten.take_along_dim.default, x, index, dim).inexact


@pytest.mark.parametrize("index", [ints(5, 0, -2), torch.tensor([[1], [0]]), torch.tensor(3)])
def test_take(index):
    x = torch.rand(2, 3)

    assert check_op(aten.take.default, x, index, const=[index]).inexact == ""
    assert check_op(aten.take.default, x, index).inexact


def test_masked_select():
    x = torch.rand(2, 3)

    assert check_op(aten.masked_select.default, x, TRUTH, const=[TRUTH]).inexact == ""
    assert check_op(aten.masked_select.default, torch.rand(3), TRUTH, const=[TRUTH]).inexact == ""
    assert check_op(aten.masked_select.default, x, TRUTH).inexact


@pytest.mark.parametrize(
    ("op", "args"),
    [
        (aten.nonzero.default, (torch.rand(2, 3),)),
        (aten.bincount.default, (ints(0, 2, 2), torch.rand(3))),
        (aten._unique2.default, (torch.rand(4),)),
        (aten.histc.default, (torch.rand(4), 3, 0, 1)),
        (aten.where.default, (TRUTH,)),
    ],
)
def test_what_the_data_decides_reads_everything(op, args):
    ruled = rule_on(op, *args)

    assert ruled.effect.inexact
    for output in range(len(ruled.outs)):
        for _, tensor in ruled.args:
            assert ruled.told(tensor, output).all()


def test_large_indices_are_not_stored():
    big = Arg((LIMIT + 1,), "int64", "const", load=lambda: np.arange(LIMIT + 1))
    named = {"self": Arg((2, 7)), "dim": 1, "index": big}
    effect = lookup("aten.index_select")(Call("aten.index_select", named, [TensorInfo((2, LIMIT + 1))]))

    assert effect.inexact == "an index too large to store"


# --- writing by index -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "indices"), INDICES)
@pytest.mark.parametrize("accumulate", [False, True])
def test_index_put(shape, indices, accumulate):
    x = torch.rand(shape)
    given = [index for index in indices if index is not None]
    values = torch.rand(x[tuple(slice(None) if index is None else index for index in indices)].shape)

    effect = check_op(aten.index_put.default, x, indices, values, accumulate, const=given)
    twice = (shape, accumulate) == ((2, 4), False) and indices[1].ndim == 1
    assert bool(effect.inexact) == twice
    assert effect.kind == "copy"
    assert effect.flops == ({"elementwise": values.numel()} if accumulate else {})

    assert check_op(aten.index_put.default, x, indices, values, accumulate).inexact == "data-dependent index"


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("values", [(), (1,), (2,), (2, 1), (3, 1, 1), (3, 1, 2), (1, 3, 2, 2)])
def test_index_put_broadcasts_its_values(values, accumulate):
    x, indices = torch.rand(2, 4, 2), [None, torch.tensor([[0, 1], [3, 2], [0, 1]])]
    given = torch.rand(values) if len(values) < 4 else torch.rand(2, 3, 2, 2)[:1]

    effect = check_op(aten.index_put.default, x, indices, given.contiguous(), accumulate, const=[indices[1]])

    assert not accumulate or effect.inexact == ""
    check_op(aten.index_put.default, x, indices, given.contiguous(), accumulate)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("index", [ints(2, 0), ints(1, 1)])
def test_writing_along_an_axis(dim, index):
    x = torch.rand(3, 3, 3)
    shape = [2 if axis == dim % 3 else 3 for axis in range(3)]
    source = torch.rand(shape)
    twice = index[0] == index[1]

    effect = check_op(aten.index_copy.default, x, dim, index, source, const=[index])
    assert bool(effect.inexact) == twice
    effect = check_op(aten.index_add.default, x, dim, index, source, const=[index])
    assert effect.inexact == ""
    assert effect.flops == {"elementwise": 18}
    effect = check_op(aten.index_fill.int_Tensor, x, dim, index, torch.tensor(0.5), const=[index])
    assert effect.inexact == ""
    effect = check_op(aten.index_fill.int_Scalar, x, dim, index, 0.5, const=[index])
    assert effect.inexact == ""
    for include_self in (True, False):
        effect = check_op(
            aten.index_reduce.default, x, dim, index, source, "mean", include_self=include_self, const=[index]
        )
        assert effect.inexact == ""

    assert check_op(aten.index_copy.default, x, dim, index, source).inexact
    assert check_op(aten.index_add.default, x, dim, index, source).inexact
    assert (told_of(rule_on(aten.index_add.default, x, dim, index, source), 1)).all()


SCATTERS = [
    (0, torch.tensor([[1, 1, 1], [0, 0, 0]]), (2, 3)),
    (0, torch.tensor([[1, 2, 0], [0, 0, 1]]), (2, 3)),
    (1, torch.tensor([[2, 0], [1, 2]]), (3, 2)),
    (-1, torch.tensor([[1, 1, 0]]), (1, 3)),
    (1, torch.tensor([[1, 1], [1, 1], [1, 1]]), (3, 2)),
]


@pytest.mark.parametrize(("dim", "index", "source"), SCATTERS)
def test_scatter(dim, index, source):
    x, src = torch.rand(3, 3), torch.rand(source)
    unique = all(row.unique().numel() == row.numel() for row in index.movedim(dim, -1).reshape(-1, index.shape[dim]))

    assert bool(check_op(aten.scatter.src, x, dim, index, src, const=[index]).inexact) != unique
    assert check_op(aten.scatter.value, x, dim, index, 0.5, const=[index]).inexact == ""
    effect = check_op(aten.scatter_add.default, x, dim, index, src, const=[index])
    assert effect.inexact == ""
    assert effect.flops == {"elementwise": index.numel()}
    for include_self in (True, False):
        effect = check_op(aten.scatter_reduce.two, x, dim, index, src, "sum", include_self=include_self, const=[index])
        assert effect.inexact == ""
    assert check_op(aten.scatter.reduce, x, dim, index, src, reduce="multiply", const=[index]).inexact == ""
    assert check_op(aten.scatter.value_reduce, x, dim, index, 2.0, reduce="multiply", const=[index]).inexact == ""

    assert check_op(aten.scatter.src, x, dim, index, src).inexact
    assert check_op(aten.scatter_add.default, x, dim, index, src).inexact


def test_one_hot_reads_its_number():
    zeros, index = torch.zeros(2, 3, 4), torch.tensor([[[0], [1], [3]], [[2], [2], [1]]])
    ruled = rule_on(aten.scatter.value, zeros, -1, index, 1, const=[zeros])

    assert ruled.effect.inexact == ""
    told = told_of(ruled, 1)
    assert (told == np.eye(6, dtype=bool).reshape(2, 3, 1, 6)).all()


@pytest.mark.parametrize("accumulate", [False, True])
def test_put(accumulate):
    x, index = torch.rand(2, 3), torch.tensor([[5], [0]])

    effect = check_op(aten.put.default, x, index, torch.rand(2), accumulate, const=[index])
    assert effect.inexact == ""
    assert check_op(aten.put.default, x, index, torch.rand(2), accumulate).inexact


def test_masked_scatter():
    x, source = torch.rand(2, 3), torch.rand(2, 2)

    assert check_op(aten.masked_scatter.default, x, TRUTH, source, const=[TRUTH]).inexact == ""
    assert check_op(aten.masked_scatter.default, x, TRUTH, source).inexact


# --- selection by mask ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [TRUTH, TRUTH[:1], TRUTH[0]])
def test_masked_fill(mask):
    x = torch.rand(2, 3)

    effect = check_op(aten.masked_fill.Scalar, x, mask, 2.0, const=[mask])
    assert effect.inexact == ""
    assert (effect.blocked, effect.zero, dict(effect.flops)) == (None, None, {})
    assert check_op(aten.masked_fill.Tensor, x, mask, torch.tensor(2.0), const=[mask]).inexact == ""

    ruled = rule_on(aten.masked_fill.Scalar, x, mask, 2.0)
    assert told_of(ruled, 1).any(axis=-1).all()
    hold(ruled, [x], lambda: (torch.where(torch.rand(2, 3) > 2, 0.0, x),))


@pytest.mark.parametrize(("low", "blocked"), [(-float("inf"), True), (-88.0, True), (-87.0, False)])
def test_masked_fill_blocks_from_minus_88_down(low, blocked):
    x, value = torch.rand(2, 3), torch.tensor(low)
    known = np.array([[False, True, True]])

    for effect in (
        rule_on(aten.masked_fill.Scalar, x, TRUTH, low, const=[TRUTH]).effect,
        rule_on(aten.masked_fill.Tensor, x, TRUTH, value, const=[TRUTH, value]).effect,
    ):
        assert (effect.blocked is not None) == blocked
        assert not blocked or (effect.blocked == TRUTH.numpy()).all()
    effect = rule_on(aten.masked_fill.Scalar, x, TRUTH, low, const=[TRUTH], blocked=[(x, known)]).effect
    assert (effect.blocked == (TRUTH.numpy() | known if blocked else known & ~TRUTH.numpy())).all()
    assert rule_on(aten.masked_fill.Scalar, x, TRUTH, low).effect.blocked is None
    effect = rule_on(aten.masked_fill.Scalar, x, TRUTH, low, blocked=[(x, known)]).effect
    assert (effect.blocked is not None) == blocked


def test_masked_fill_with_zero():
    x = torch.rand(2, 3)

    assert (rule_on(aten.masked_fill.Scalar, x, TRUTH, 0, const=[TRUTH]).effect.zero == TRUTH.numpy()).all()


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((3,), (2, 1)), ((), (2, 3))])
def test_where(shapes):
    a, b = (torch.rand(shape) for shape in shapes)

    assert check_op(aten.where.self, TRUTH, a, b, const=[TRUTH]).inexact == ""
    ruled = rule_on(aten.where.self, TRUTH, a, b)
    assert all(ruled.told(tensor, 0).any(axis=-1).all() for tensor in (TRUTH, a, b))


def test_where_with_numbers():
    a, low = torch.rand(2, 3), torch.tensor(-1e9)

    effect = check_op(aten.where.ScalarOther, TRUTH, a, -1e9, const=[TRUTH])
    assert (effect.blocked == ~TRUTH.numpy()).all()
    effect = check_op(aten.where.ScalarSelf, TRUTH, 0.0, a, const=[TRUTH])
    assert (effect.zero == TRUTH.numpy()).all()
    effect = rule_on(aten.where.self, TRUTH, a, low, const=[TRUTH, low]).effect
    assert (effect.blocked == ~TRUTH.numpy()).all()


NEVER = np.array([[False, True, False], [True, False, False]])


def test_where_never_takes_what_is_known_to_be_false():
    """The condition is false in two places, and for data to tell in the others."""
    a, b = torch.rand(2, 3), torch.rand(3)
    ruled = rule_on(aten.where.self, TRUTH, a, b, zero=[(TRUTH, NEVER)])

    for tensor, never in ((TRUTH, NEVER), (a, NEVER), (b, np.zeros((2, 3), bool))):
        assert (ruled.told(tensor, 0).any(axis=-1) == ~never).all()
    assert ruled.effect.masked
    assert ruled.effect.zero is None
    zeros = torch.zeros(3)
    assert (rule_on(aten.where.self, TRUTH, a, zeros, const=[zeros], zero=[(TRUTH, NEVER)]).effect.zero == NEVER).all()


def test_where_always_takes_what_is_known_to_be_true():
    a, b = torch.rand(2, 3), torch.rand(3)
    ruled = rule_on(aten.where.self, TRUTH, a, b, true=[(TRUTH, NEVER)])

    for tensor, never in ((TRUTH, NEVER), (a, np.zeros((2, 3), bool)), (b, NEVER)):
        assert (ruled.told(tensor, 0).any(axis=-1) == ~never).all()
    for low, blocks in ((float("-inf"), True), (-1e9, False)):
        effect = rule_on(aten.masked_fill.Scalar, a, TRUTH, low, true=[(TRUTH, NEVER)]).effect
        assert effect.masked
        assert (effect.blocked is not None) == blocks
        assert not blocks or ((effect.blocked == NEVER).all() and effect.rows)
    assert (rule_on(aten.masked_fill.Scalar, a, TRUTH, 0, zero=[(a, NEVER)]).effect.zero == NEVER).all()


def test_only_minus_infinity_blocks_against_a_row_that_data_masks():
    """Where data masks the rest of a row with the same finite number, a softmax spreads over all of it."""
    a = torch.rand(2, 3)
    for low, blocks in ((float("-inf"), True), (-1e9, False)):
        number = torch.tensor(low)
        for effect in (
            rule_on(aten.where.self, TRUTH, a, number, const=[number], zero=[(TRUTH, NEVER)]).effect,
            rule_on(aten.where.ScalarOther, TRUTH, a, low, zero=[(TRUTH, NEVER)]).effect,
        ):
            assert (effect.blocked is not None) == blocks
            assert not blocks or ((effect.blocked == NEVER).all() and effect.rows)


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 4), (4, 2)])
@pytest.mark.parametrize("diagonal", [0, 1, -1, 5, -5])
def test_triangles(shape, diagonal):
    x = torch.rand(shape)

    for op, of in ((aten.tril.default, torch.tril), (aten.triu.default, torch.triu)):
        ruled = rule_on(op, x, diagonal)
        hold(ruled, [x], lambda of=of: (of(x, diagonal),))
        zero = np.zeros(shape, bool) if ruled.effect.zero is None else np.broadcast_to(ruled.effect.zero, shape)
        np.testing.assert_array_equal(zero, (of(torch.ones(shape), diagonal) == 0).numpy())


def test_a_triangle_keeps_what_is_known_inside():
    x, known = torch.rand(2, 2), np.array([[False, True], [True, False]])
    effect = rule_on(aten.tril.default, x, blocked=[(x, known)], zero=[(x, known)]).effect

    assert effect.blocked.tolist() == [[False, False], [True, False]]
    assert effect.zero.tolist() == [[False, True], [True, False]]


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "args", "flops"),
    [
        (aten.sort.default, (1,), 24 * 2),
        (aten.sort.default, (-1, True), 24 * 2),
        (aten.topk.default, (2, 1), 24),
        (aten.topk.default, (1, 0, False), 24),
        (aten.msort.default, (), 24),
    ],
)
def test_order_reads_the_whole_axis(op, args, flops):
    x = torch.rand(2, 4, 3)
    ruled = rule_on(op, x, *args)

    def values():
        outs = op(x, *args)
        return (outs,) if isinstance(outs, torch.Tensor) else (outs[0],)

    np.testing.assert_array_equal(ruled.told(x, 0), changed(x, values, FAR)[0])
    assert ruled.effect.inexact == ""
    assert ruled.effect.flops == {"other": flops}


def test_argsort_and_single_numbers():
    effect = check_op(aten.argsort.default, torch.rand(5))
    assert effect.flops == {"other": 15}
    assert check_op(aten.sort.default, torch.rand(())).flops == {"other": 0}


def test_searchsorted():
    row, rows, values = torch.arange(5.0), torch.rand(2, 5), torch.rand(2, 3)

    ruled = rule_on(aten.searchsorted.Tensor, row, values)
    assert told_of(ruled, 0).all()
    assert (told_of(ruled, 1) == np.eye(6, dtype=bool).reshape(2, 3, 6)).all()
    assert ruled.effect.flops == {"other": 6 * 3}
    told = told_of(rule_on(aten.searchsorted.Tensor, rows, values), 0).reshape(2, 3, 2, 5)
    assert told[0, :, 0].all()
    assert not told[0, :, 1].any()
    assert told_of(rule_on(aten.bucketize.Tensor, values, row), 1).all()


def test_masks_under_a_name_of_the_tracer():
    x = torch.rand(2, 2)
    call = lambda: (x.clone().masked_fill_(torch.tensor([[True, False], [False, False]]), 0),)  # noqa: E731
    mask = torch.tensor([[True, False], [False, False]])

    effect = check_call("aten.masked_fill_", {"self": x, "mask": mask, "value": 0}, call(), call, const=[mask])
    assert effect.zero.tolist() == mask.tolist()


@pytest.mark.parametrize("name", ["embedding", "embedding_bag"])
def test_a_table_is_looked_up_by_whole_numbers(name):
    table, index = Arg((10, 4), role="param"), Arg((1, 5), "float32")
    call = Call(f"aten.{name}", {"weight": table, "indices": index}, [TensorInfo((1, 5, 4))])

    with pytest.raises(ValueError, match="whole numbers, got float32"):
        lookup(f"aten.{name}")(call)
