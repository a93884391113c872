"""Rules of movement against poisoned calls; masks are moved as the elements are."""

import numpy as np
import pytest
import torch

import rfcalc
from rfcalc.ops._masks import carry
from rfcalc.reads import Permute, Place, Reduce, Reshape, Take
from tests.ops.finite import rule_on
from tests.ops.oracle import check_call, check_op

aten = torch.ops.aten

#: (op, shape, further arguments) of ops that move the elements of one tensor.
MOVES = [
    (aten.view.default, (2, 3, 4), ([6, 4],)),
    (aten.view.default, (2, 3, 4), ([2, 2, 6],)),
    (aten.view.default, (2, 3), ([-1],)),
    (aten.view.default, (2, 3), ([2, 3],)),
    (aten.reshape.default, (4, 3), ([2, -1],)),
    (aten._unsafe_view.default, (4, 3), ([2, 6],)),
    (aten._reshape_alias.default, (4, 3), ([2, 6], [6, 1])),
    (aten.flatten.using_ints, (2, 3, 2, 2), (1,)),
    (aten.flatten.using_ints, (), ()),
    (aten.unflatten.int, (2, 6), (1, [3, 2])),
    (aten.ravel.default, (2, 3), ()),
    (aten.squeeze.default, (1, 3, 1, 2), ()),
    (aten.squeeze.dim, (1, 3, 1), (-1,)),
    (aten.squeeze.dim, (1, 3, 1), (1,)),
    (aten.squeeze.dims, (1, 3, 1, 1), ([0, 2],)),
    (aten.unsqueeze.default, (2, 3), (-1,)),
    (aten.unsqueeze.default, (2, 3), (1,)),
    (aten.unsqueeze.default, (), (0,)),
    (aten.atleast_2d.default, (3,), ()),
    (aten.atleast_3d.default, (3, 2), ()),
    (aten.permute.default, (2, 3, 4), ([2, 0, 1],)),
    (aten.permute.default, (2, 3, 4), ([0, -1, 1],)),
    (aten.transpose.int, (2, 3, 4), (1, -1)),
    (aten.transpose.int, (3,), (0, 0)),
    (aten.swapaxes.default, (2, 3, 4), (0, 2)),
    (aten.swapdims.default, (2, 3, 4), (0, 1)),
    (aten.t.default, (2, 3), ()),
    (aten.t.default, (3,), ()),
    (aten.numpy_T.default, (2, 3, 4), ()),
    (aten.mT.default, (2, 3, 4), ()),
    (aten.adjoint.default, (2, 3, 4), ()),
    (aten.movedim.int, (2, 3, 4), (0, -1)),
    (aten.movedim.intlist, (2, 3, 4), ([0, 2], [1, 0])),
    (aten.moveaxis.int, (2, 3, 4), (2, 0)),
    (aten.expand.default, (3, 1), ([2, 3, 4],)),
    (aten.expand.default, (1, 3), ([4, -1],)),
    (aten.expand.default, (), ([2, 2],)),
    (aten.broadcast_to.default, (3,), ([2, 3],)),
    (aten.repeat.default, (2, 3), ([2, 2],)),
    (aten.repeat.default, (3,), ([2, 1, 2],)),
    (aten.repeat.default, (1, 3), ([4, 1],)),
    (aten.repeat.default, (1, 3), ([0, 2],)),
    (aten.tile.default, (2, 3), ([2],)),
    (aten.repeat_interleave.self_int, (2, 3), (2, 1)),
    (aten.repeat_interleave.self_int, (2, 3), (2, -2)),
    (aten.repeat_interleave.self_int, (2, 3), (2,)),
    (aten.slice.Tensor, (2, 5), (1, 1, 4)),
    (aten.slice.Tensor, (2, 5), (1, 0, 9223372036854775807)),
    (aten.slice.Tensor, (2, 5), (-1, 0, 9223372036854775807, 2)),
    (aten.slice.Tensor, (2, 5), (1, -3, -1)),
    (aten.slice.Tensor, (5,), (0, 1, None, 3)),
    (aten.slice.Tensor, (2, 5), (1, 4, 2)),
    (aten.narrow.default, (2, 5), (1, 2, 2)),
    (aten.narrow.default, (2, 5), (1, -3, 2)),
    (aten.narrow.default, (2, 5), (-1, 0, 5)),
    (aten.select.int, (2, 5), (1, 3)),
    (aten.select.int, (2, 5, 2), (1, -1)),
    (aten.select.int, (3,), (0, 1)),
    (aten.diagonal.default, (3, 4), ()),
    (aten.diagonal.default, (3, 4), (1,)),
    (aten.diagonal.default, (3, 4), (-2,)),
    (aten.diagonal.default, (3, 4), (9,)),
    (aten.diagonal.default, (3, 2, 4), (1, 2, 0)),
    (aten.linalg_diagonal.default, (2, 3, 3), ()),
    (aten.diag_embed.default, (2, 3), ()),
    (aten.diag_embed.default, (2, 3), (1, 0, 2)),
    (aten.diag_embed.default, (2, 2), (-2, 2, 0)),
    (aten.diag.default, (3, 4), (1,)),
    (aten.diag.default, (3, 2), (-1,)),
    (aten.diag.default, (3,), (-1,)),
    (aten.split.Tensor, (2, 5), (2, 1)),
    (aten.split.Tensor, (5,), (2,)),
    (aten.split_with_sizes.default, (2, 5), ([1, 3, 1], -1)),
    (aten.unsafe_split.Tensor, (4, 2), (2,)),
    (aten.unsafe_split_with_sizes.default, (5, 2), ([1, 4],)),
    (aten.chunk.default, (2, 5), (3, 1)),
    (aten.unsafe_chunk.default, (4, 2), (2,)),
    (aten.tensor_split.sections, (2, 5), (3, 1)),
    (aten.tensor_split.indices, (2, 5), ([1, 3], 1)),
    (aten.tensor_split.indices, (5,), ([-2, 1],)),
    (aten.tensor_split.indices, (3,), ([7],)),
    (aten.hsplit.int, (2, 4), (2,)),
    (aten.hsplit.array, (4,), ([1],)),
    (aten.vsplit.int, (4, 2), (2,)),
    (aten.dsplit.int, (1, 2, 4), (2,)),
    (aten.unbind.int, (3, 2), ()),
    (aten.unbind.int, (2, 3, 2), (-2,)),
]


@pytest.mark.parametrize(("op", "shape", "args"), MOVES)
def test_movement(op, shape, args):
    effect = check_op(op, torch.rand(shape), *args)

    assert (effect.kind, effect.macs, dict(effect.flops), effect.inexact) == ("reshape", 0, {}, "")


@pytest.mark.parametrize(("op", "shape", "args"), MOVES)
def test_masks_move_like_the_elements(op, shape, args):
    generator = np.random.default_rng(0)
    for extents in (shape, tuple(1 if k % 2 else n for k, n in enumerate(shape)), shape[1:]):
        mask = generator.random(extents) < 0.5
        x = torch.from_numpy(np.broadcast_to(mask, shape).astype("float32").copy())

        ruled = rule_on(op, x, *args, zero=[(x, mask)], blocked=[(x, mask)])

        moved = ruled.outs[0].numpy() != 0
        for found in (ruled.effect.zero, ruled.effect.blocked):
            assert (np.broadcast_to(False if found is None else found, moved.shape) == moved).all()


@pytest.mark.parametrize("name", ["squeeze_", "unsqueeze_", "transpose_", "t_"])
def test_views_in_place(name):
    args = {"unsqueeze_": (1,), "transpose_": (0, 1)}.get(name, ())
    x = torch.rand(1, 3)
    ruled = rule_on(getattr(aten, name).default, x, *args)

    assert (ruled.told(x, 0).reshape(3, 3) == np.eye(3, dtype=bool)).all()


def test_shape_of_another_tensor():
    x, other = torch.rand(2, 3), torch.rand(3, 2)

    check_op(aten.view_as.default, x, other)
    check_op(aten.reshape_as.default, x, other)
    check_op(aten.expand_as.default, torch.rand(3, 1), other)


def test_several_tensors_each_by_itself():
    x, y = torch.rand(2), torch.rand(3)

    check_op(aten.meshgrid.default, [x, y])
    check_op(aten.meshgrid.indexing, [x, y, torch.rand(2)], indexing="xy")
    check_op(aten.meshgrid.indexing, [x, y], indexing="ij")
    check_op(aten.meshgrid.indexing, [x], indexing="xy")
    check_op(aten.broadcast_tensors.default, [torch.rand(2, 1), y])
    check_op(aten.atleast_2d.Sequence, [x, torch.rand(2, 2)])


# --- other dtypes -----------------------------------------------------------------------------------------------------


def test_view_of_other_dtypes():
    x = torch.rand(2, 4)

    check_op(aten.view.dtype, x, torch.float32)
    assert rule_on(aten.view.dtype, x, torch.int32).told(x, 0).sum() == 8
    for dtype, ratio in ((torch.float64, 2), (torch.float16, 1)):
        ruled = rule_on(aten.view.dtype, x, dtype)
        width = ruled.outs[0].shape[1]
        expected = [
            [i * width // 4 == u if ratio == 2 else i == u * 4 // width for i in range(4)] for u in range(width)
        ]
        assert (ruled.told(x, 0)[0, :, :4] == expected).all()


def test_complex_numbers_as_pairs():
    pairs = torch.rand(2, 3, 2)

    check_call("aten.view_as_complex", {"self": pairs}, (pairs[..., 0],), lambda: (torch.view_as_complex(pairs).abs(),))
    numbers = torch.rand(2, 3, dtype=torch.cfloat)
    told = rule_on(aten.view_as_real.default, numbers).told(numbers, 0)
    assert (told == np.eye(6, dtype=bool).reshape(2, 3, 1, 6)).all()
    assert rule_on(aten.real.default, numbers).told(numbers, 0).sum() == 6


def test_strided_views_are_an_upper_bound():
    x = torch.rand(2, 3)

    effect = check_op(aten.as_strided.default, x, [2, 2, 2], [1, 2, 1])
    assert "memory" in effect.inexact


# --- repeats and starts that are tensors ------------------------------------------------------------------------------


def test_repeats_by_a_known_tensor():
    x, repeats = torch.rand(2, 3), torch.tensor([2, 0, 1])

    check_op(aten.repeat_interleave.self_Tensor, x, repeats, 1, const=[repeats])
    once = torch.tensor(2)
    check_op(aten.repeat_interleave.self_Tensor, x, once, const=[once])


def test_repeats_computed_from_data():
    x, repeats = torch.rand(2, 3), torch.tensor([2, 0, 1])

    assert "computed from data" in check_op(aten.repeat_interleave.self_Tensor, x, repeats, 1).inexact
    ruled = rule_on(aten.repeat_interleave.Tensor, repeats)
    assert ruled.told(repeats, 0).all()


def test_narrow_from_a_tensor():
    x, start = torch.rand(2, 5), torch.tensor(2)

    assert check_op(aten.narrow.Tensor, x, 1, start, 2, const=[start]).inexact == ""
    assert "computed from data" in check_op(aten.narrow.Tensor, x, 1, start, 2).inexact


# --- joining ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "dim"), [([(2, 3), (2, 1), (2, 2)], 1), ([(1, 2), (3, 2)], 0), ([(2, 3), (2, 2)], -1)]
)
def test_cat(shapes, dim):
    effect = check_op(aten.cat.default, [torch.rand(shape) for shape in shapes], dim)

    assert (effect.kind, effect.attrs) == ("merge", {"dim": dim % 2})


def test_cat_of_one_and_of_nothing():
    x, constant = torch.rand(2, 3), torch.rand(2, 1)

    assert check_op(aten.cat.default, [x], 1).kind == "reshape"
    assert check_op(aten.cat.default, [x, constant], 1, const=[constant]).kind == "reshape"
    empty = torch.rand(0)
    check_op(aten.cat.default, [empty, x, torch.rand(2, 1)], 1, const=[empty])
    check_op(aten.cat.default, [torch.rand(2), empty, torch.rand(1)], const=[empty])


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_stack(dim):
    effect = check_op(aten.stack.default, [torch.rand(2, 3), torch.rand(2, 3)], dim)

    assert (effect.kind, effect.attrs) == ("merge", {"dim": dim % 3})
    check_op(aten.stack.default, [torch.rand(()), torch.rand(())])


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("hstack", [(2,), (3,)]),
        ("hstack", [(), (3,)]),
        ("hstack", [(2, 1), (2, 2)]),
        ("vstack", [(3,), (2, 3)]),
        ("vstack", [(), ()]),
        ("row_stack", [(3,), (3,)]),
        ("dstack", [(3,), (3,)]),
        ("dstack", [(2, 3), (2, 3, 2)]),
        ("dstack", [(), ()]),
        ("column_stack", [(2,), (2, 2)]),
        ("column_stack", [(), ()]),
        ("concat", [(2, 3), (1, 3)]),
    ],
)
def test_stacks(name, shapes):
    check_op(getattr(aten, name).default, [torch.rand(shape) for shape in shapes])


@pytest.mark.parametrize(
    ("start", "stop", "step"), [(1, 3, 1), (0, None, 2), (-2, None, 1), (None, None, 1), (3, 1, 1)]
)
def test_slice_scatter(start, stop, step):
    size = len(range(*slice(start, stop, step).indices(5)))

    source = torch.rand(2, size)

    effect = check_op(
        aten.slice_scatter.default, torch.rand(2, 5), source, 1, start, stop, step, const=[] if size else [source]
    )

    assert effect.kind == ("merge" if size else "reshape")


@pytest.mark.parametrize(("dim", "index"), [(1, 2), (0, -1), (-1, 0)])
def test_select_scatter(dim, index):
    check_op(aten.select_scatter.default, torch.rand(2, 3), torch.rand(2 if dim else 3), dim, index)


def test_joined_masks():
    x, y = torch.rand(2, 2), torch.tensor([[0.0], [-100.0]])
    known = np.array([[True, False], [False, False]])

    effect = rule_on(aten.cat.default, [x, y], 1, const=[y], zero=[(x, known)], blocked=[(x, known)]).effect
    assert (effect.zero == [[1, 0, 1], [0, 0, 0]]).all()
    assert (effect.blocked == [[1, 0, 0], [0, 0, 1]]).all()
    effect = rule_on(
        aten.slice_scatter.default, x, y, 1, 0, 1, const=[y], zero=[(x, ~known)], blocked=[(x, known)]
    ).effect
    assert (effect.zero == [[1, 1], [0, 1]]).all()
    assert (effect.blocked == [[0, 0], [1, 0]]).all()


# --- masks ------------------------------------------------------------------------------------------------------------


def test_masks_stay_small_where_they_are_constant():
    mask = np.ones((1, 4, 1, 7, 7), dtype=bool)

    moved = carry(mask, (2, 4, 3, 7, 7), (Reshape((2, 4, 3, 7, 7), (8, 3, 7, 7)),))

    assert moved.shape == (8, 1, 7, 7)


def test_masks_through_steps():
    mask = np.array([True, False])

    assert carry(mask, (3, 2), (Permute((1, 0)),)).tolist() == [[True], [False]]
    assert carry(mask, (3, 2), (Take(1, (1, -1, 0)),)).tolist() == [[False, False, True]]
    assert carry(np.array([True]), (2,), (Place(0, 2, 1, 4),)).tolist() == [False, True, True, False]
    assert carry(mask, (3, 2), (Take(1, (1, 1)),)) is None
    assert carry(mask, (3, 2), (Reduce((0,)),)) is None
    assert carry(np.array([True]), (0, 2), (Reshape((0, 2), (2, 0)),)) is None


def test_what_is_put_into_a_tensor():
    x, diagonal = torch.rand(3, 4), torch.rand(3)
    assert not check_op(aten.diagonal_scatter.default, x, diagonal, 1).flops
    check_op(aten.diagonal_scatter.default, torch.rand(2, 3, 3), torch.rand(2, 2), -1, 1, 2)
    check_op(aten.as_strided_scatter.default, x, torch.rand(2, 2), [2, 2], [4, 2], 1)


def test_trace():
    assert check_op(aten.trace.default, torch.rand(3, 4)).flops == {"reduction": 3}


@pytest.mark.parametrize("size", [[4], [2, 3], [3, 2], [2, 5]])
def test_resize(size):
    """In place torch changes the tensor itself; what is new has no number to look at."""
    x, out = torch.rand(2, 3), torch.empty(size)
    named = {"self": x, "size": size}

    def again():
        padded = torch.zeros(10)
        padded[:6] = x.reshape(-1)
        return (padded[: out.numel()].view(size),)

    assert not check_call("aten.resize", named, (out,), again).flops


def test_tensors_that_change_their_size_in_place_are_followed():
    class Net(torch.nn.Module):
        def forward(self, x):
            y = (x * 2).resize_as_(torch.empty(3, 2))
            return y.relu(), torch.zeros(2).resize_(4) + x.sum()

    analysis = rfcalc.analyze(Net(), torch.randn(2, 3))

    assert analysis.totals.status == "complete"
    assert [row.output_shape for row in analysis.ops if "relu" in row.name] == [(3, 2)]


@pytest.mark.parametrize(
    ("name", "args"),
    [("special_ndtri", ()), ("special_bessel_j0", ()), ("special_i1e", ()), ("special_modified_bessel_k0", ())],
)
def test_functions_of_one_number(name, args):
    assert check_op(getattr(aten, name).default, torch.rand(2, 3) * 0.8 + 0.1, *args).flops == {"elementwise": 6}


def test_functions_of_two_numbers():
    for op in (aten.igamma.default, aten.igammac.default, aten.special_zeta.default, aten._standard_gamma_grad.default):
        assert check_op(op, torch.rand(2, 3) + 2, torch.rand(3) + 1).flops == {"elementwise": 6}


DISTRIBUTIONS = {
    "Normal": lambda x: torch.distributions.Normal(x, x.exp()).rsample(),
    "Categorical": lambda x: torch.distributions.Categorical(logits=x).entropy(),
    "MultivariateNormal": lambda x: torch.distributions.MultivariateNormal(x, torch.eye(3)).log_prob(x + 1),
    "Dirichlet": lambda x: torch.distributions.Dirichlet(x.exp()).rsample(),
    "Gamma": lambda x: torch.distributions.Gamma(x.exp(), x.exp()).rsample(),
    "Beta": lambda x: torch.distributions.Beta(x.exp(), x.exp()).log_prob(torch.full_like(x, 0.5)),
    "Binomial": lambda x: torch.distributions.Binomial(5, logits=x).sample() + x,
    "LowRank": lambda x: torch.distributions.LowRankMultivariateNormal(x, torch.ones(3, 1), torch.ones(3)).log_prob(x),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_are_followed(name):
    class Net(torch.nn.Module):
        def forward(self, x):
            return DISTRIBUTIONS[name](x)

    assert rfcalc.analyze(Net(), torch.rand(2, 3)).totals.status == "complete"
