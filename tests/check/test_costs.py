"""Costs are counted, not estimated: closed forms, scaling laws, and the same values as on plain arrays."""

import numpy as np
import pytest

from visattn import gradcheck, ops, tree
from visattn.check.costs import cost
from visattn.check.count_array import CountArray, Ledger, count


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


def attention(T, S, D=4, E=5, B=2):
    return normal(B, T, D), normal(B, S, D), normal(B, S, E)


def test_counting_changes_no_value(op, rng):
    args, options = op.example(rng)
    y, cache = op.forward(*args, **options)
    dy = tree.map(lambda a: np.asarray(np.cos(a)), y)
    grads = op.backward(dy, cache)

    ledger = Ledger()
    named = {name: count(value, ledger) if tree.is_leaf(value) else value for name, value in options.items()}
    y2, cache2 = op.forward(*count(gradcheck.given(args), ledger), **named)
    grads2 = op.backward(count(dy, ledger), cache2)
    for a, b in zip(tree.leaves((y, grads)), tree.leaves((y2, grads2)), strict=True):
        assert isinstance(b, CountArray)
        np.testing.assert_array_equal(b.array, a)


def test_a_fused_kernel_moves_at_least_its_output_and_no_more_than_separate_calls(op, rng):
    args, options = op.example(rng)
    y, cache = op.forward(*args, **options)
    grads = op.backward(tree.map(lambda a: np.ones(a.shape), y), cache)
    for answer, backward in ((y, False), (grads, True)):
        c = cost(op, args, options, backward=backward)
        outputs = sum(a.nbytes for a in tree.leaves(answer))
        assert outputs <= c.bytes_fused <= c.bytes_unfused
        assert c.elementwise == sum(c.kinds.values())
        assert c.operations == 2 * c.multiply_adds + c.elementwise + c.reductions
        assert c.intensity_fused >= c.intensity_unfused


@pytest.mark.parametrize(("B", "T", "S", "D", "E"), [(1, 1, 1, 1, 1), (2, 3, 5, 4, 7), (3, 8, 2, 6, 5)])
def test_attention_multiplies_each_pair_by_D_and_by_E(B, T, S, D, E):
    args = attention(T, S, D, E, B)
    assert cost(ops.attention, args).multiply_adds == B * T * S * (D + E)
    # Twice that, and the product of dp with p that softmax's gradient subtracts.
    assert cost(ops.attention, args, backward=True).multiply_adds == B * T * S * (2 * (D + E) + 1)


def test_fused_attention_moves_q_k_v_and_o():
    q, k, v = attention(6, 7)
    o = ops.attention.forward(q, k, v)[0]
    assert cost(ops.attention, (q, k, v)).bytes_fused == sum(a.nbytes for a in (q, k, v, o))
    assert cost(ops.attention, (q, k, v), backward=True).bytes_fused == 2 * sum(a.nbytes for a in (q, k, v)) + o.nbytes


def test_the_attention_map_of_unfused_attention_goes_through_memory_ten_times():
    # Scores written; read for their maxima; read and shifted into p; exp in place reads and writes p, as does / by
    # its sums, which read it once; and p v reads it.
    def pairs(T, S):                                    # the mixed difference keeps what grows with T·S alone
        sizes = [(2 * T, 2 * S), (T, 2 * S), (2 * T, S), (T, S)]
        both, wide, tall, one = (cost(ops.attention, attention(*n, B=1)).bytes_unfused for n in sizes)
        return both - wide - tall + one

    assert pairs(3, 5) == 10 * 8 * 3 * 5
    assert pairs(9, 4) == 10 * 8 * 9 * 4


def test_a_mask_is_read_by_its_own_size():
    q, k, v = attention(4, 6)
    with_mask = cost(ops.attention, (q, k, v), {"mask": np.ones((1, 4, 6), bool)}).bytes_fused
    assert with_mask - cost(ops.attention, (q, k, v)).bytes_fused == 4 * 6


def test_linear_and_its_gradient():
    x, w, b = normal(3, 4, 5), normal(6, 5), normal(6)
    forward, backward = cost(ops.linear, (x, w, b)), cost(ops.linear, (x, w, b), backward=True)
    assert forward.multiply_adds == 12 * 6 * 5
    assert forward.elementwise == 12 * 6
    assert forward.bytes_unfused == 8 * (12 * 5 + 6 * 5 + 12 * 6 + 12 * 6 + 6 + 12 * 6)
    assert backward.multiply_adds == 2 * forward.multiply_adds
    assert backward.reductions == 12 * 6
    # dy, x and w in; dx, dw and db out.  b is of no use to its own gradient.
    assert backward.bytes_fused == 8 * (12 * 6 + 12 * 5 + 6 * 5) + 8 * (12 * 5 + 6 * 5 + 6)


@pytest.mark.parametrize("G", [1, 2])
def test_convolution_multiplies_each_output_by_its_window(G):
    N, C, H, W, O, Kh, Kw = 2, 4, 7, 8, 6, 3, 5
    x, w = normal(N, C, H, W), normal(O, C // G, Kh, Kw)
    y = ops.conv2d.forward(x, w, stride=(2, 1), padding=1, groups=G)[0]
    c = cost(ops.conv2d, (x, w), {"stride": (2, 1), "padding": 1, "groups": G})
    assert c.multiply_adds == y.size * (C // G) * Kh * Kw
    assert c.bytes_fused == x.nbytes + w.nbytes + y.nbytes
    backward = cost(ops.conv2d, (x, w), {"stride": (2, 1), "padding": 1, "groups": G}, backward=True)
    assert backward.multiply_adds == 2 * c.multiply_adds


def test_a_sum_of_shifted_images_is_counted_as_the_convolution_it_is():
    x, w = normal(2, 4, 7, 8), normal(4, 3, 5)
    y = ops.depthwise.forward(x, w)[0]
    assert cost(ops.depthwise, (x, w)).multiply_adds == y.size * 15
    assert cost(ops.depthwise, (x, w), backward=True).multiply_adds == 2 * y.size * 15
    assert cost(ops.depthwise, (x, w)).elementwise == 0


def test_multihead_is_its_projections_and_its_heads():
    N, T, S, I, G, D = 2, 3, 4, 6, 3, 2
    p = ops.multihead.init(np.random.default_rng(0), I, G)
    c = cost(ops.multihead, (normal(N, T, I), normal(N, S, I), *p), {"heads": G})
    assert c.multiply_adds == N * I * I * (T + S + S + T) + N * G * T * S * 2 * D


def test_doubling_the_image_doubles_what_a_convolution_does_but_not_its_weights():
    def of(N, backward):
        x, w = normal(N, 3, 6, 6), normal(4, 3, 3, 3)
        return cost(ops.conv2d, (x, w), {"padding": 1}, backward=backward), w.nbytes

    for backward, times in ((False, 1), (True, 2)):            # w, and then w and dw
        (one, w), (two, _) = of(1, backward), of(2, backward)
        assert two.multiply_adds == 2 * one.multiply_adds
        assert two.bytes_fused - times * w == 2 * (one.bytes_fused - times * w)


@pytest.mark.parametrize("backward", [False, True])
def test_counts_are_polynomials_in_the_sizes(backward):
    def of(T, S):
        c = cost(ops.attention, attention(T, S), {"causal": "top_left"}, backward=backward)
        return np.array([c.multiply_adds, c.elementwise, c.reductions, c.bytes_unfused, c.bytes_fused])

    # a + b T + c S + d T S, from four small sizes, says what a large one costs.
    corners = [(2, 3), (4, 3), (2, 6), (4, 6)]
    coefficients = np.linalg.solve([[1, T, S, T * S] for T, S in corners], np.array([of(T, S) for T, S in corners]))
    np.testing.assert_allclose(np.array([1, 60, 50, 3000]) @ coefficients, of(60, 50), rtol=1e-12)


def test_half_the_digits_are_half_the_bytes_and_the_same_operations():
    args = attention(4, 6)
    double, single = cost(ops.attention, args), cost(ops.attention, tree.cast(args, np.float32))
    assert single.bytes_unfused * 2 == double.bytes_unfused
    assert single.bytes_fused * 2 == double.bytes_fused
    assert single.operations == double.operations


def test_operations_are_told_apart_by_kind():
    x = normal(2, 3)
    assert cost(ops.sigmoid, (x,)).kinds == {"arithmetic": 18, "functions": 12, "comparisons": 6, "selections": 6}
    assert cost(ops.global_average_pool2d, (normal(2, 3, 4, 5),)).reductions == 120


def test_an_embedding_reads_the_rows_it_needs():
    c = cost(ops.embedding, (normal(100, 4),), {"ids": np.array([1, 5, 5])})
    assert c.bytes_fused == c.bytes_unfused == 3 * 8 + 2 * 3 * 4 * 8


def test_a_gradient_may_read_the_cache_where_that_is_less():
    x = normal(2, 3, 4, 5)
    c = cost(ops.global_max_pool2d, (x,), backward=True)        # a bit of a byte a pixel instead of the pixel
    assert c.bytes_fused == 2 * 3 * 8 + x.size + x.nbytes


def test_what_counts_no_further_is_an_error():
    x, = count((normal(3),), Ledger())
    with pytest.raises(TypeError, match="count no further"):
        np.asarray(x)
    with pytest.raises(TypeError, match="cannot be written into"):
        np.exp(x, out=np.zeros(3))


@pytest.mark.parametrize(("call", "multiply_adds", "reductions"), [
    (lambda a, b: np.einsum("ij,kj->ik", a, b), 24, 0),
    (lambda a, b: np.einsum("...j,...j->...", a[:, None], b), 24, 0),
    (lambda a, b: np.einsum("ij->i", a), 0, 12),
    (lambda a, b: np.tensordot(a, b, axes=[[1], [1]]), 24, 0),
    (lambda a, b: a @ b[0], 12, 0),
    (lambda a, b: a[0] @ b.T, 8, 0),
    (lambda a, b: np.dot(a, b.T), 24, 0),
    (lambda a, b: a.sum(0), 0, 12),
    (lambda a, b: np.add.reduce(a), 0, 12),
])
def test_contractions_and_reductions_of_every_spelling(call, multiply_adds, reductions):
    ledger = Ledger()
    call(*count((normal(3, 4), normal(2, 4)), ledger))
    assert (ledger.multiply_adds, ledger.reductions) == (multiply_adds, reductions)


def test_of_a_gather_what_is_gathered_is_read():
    ledger = Ledger()
    table, places = count((normal(100, 4), np.array([3, 3, 7])), ledger)
    table.take(places, axis=0)
    assert (ledger.read, ledger.written) == (3 * 4 * 8 + 3 * 8, 3 * 4 * 8)
    ledger.turn()
    assert (table[places].shape, ledger.read) == ((3, 4), 3 * 4 * 8 + 3 * 8)


def test_views_are_free_and_copies_are_not():
    ledger = Ledger()
    x, = count((normal(4, 6),), ledger)
    x.reshape(6, 4).T[1:, None].swapaxes(0, 1)
    np.broadcast_to(x, (3, 4, 6))
    assert ledger.read == ledger.written == 0
    np.stack([x, x])
    assert (ledger.read, ledger.written) == (2 * x.nbytes, 2 * x.nbytes)
    ledger.turn()
    np.broadcast_to(x, (3, 4, 6)) + 1
    assert (ledger.read, ledger.written) == (x.nbytes, 3 * x.nbytes)
    ledger.turn()
    x[:2] += 1                                                  # read, written; not once more by the assignment
    assert (ledger.read, ledger.written) == (x.nbytes / 2, x.nbytes / 2)
