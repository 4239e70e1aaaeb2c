"""What the checker rejects of libraries, and rightly so: each is shown here without the checker.

    for finding in FINDINGS:
        off, honest = finding.show()            # how far it is off, and how far honest arithmetic would be

A finding covers the rejections of `implementation` of `op`, in these precisions and parts; patterns as of file names.
"""

import os
import warnings
from collections.abc import Callable
from fnmatch import fnmatch
from typing import NamedTuple

import numpy as np
import torch

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("JAX_ENABLE_X64", "1")
HALF = ("float16", "bfloat16")
F = torch.nn.functional


class Finding(NamedTuple):
    """Something about a library."""

    name: str
    says: str
    where: tuple[tuple[str, str, str], ...]         # (operator, implementation, part)
    precisions: tuple[str, ...]
    show: Callable[[], tuple[float, float]]

    def covers(self, op: str, implementation: str, part: str, precision: str) -> bool:
        return precision in self.precisions and any(
            fnmatch(op, o) and fnmatch(implementation, i) and fnmatch(part, p) for o, i, p in self.where)


def layer_norm_sums() -> tuple[float, float]:
    """The gradient of the shift is a sum of 4096 ones."""
    x, g = torch.ones(4096, 2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)
    b = torch.zeros(2, dtype=torch.bfloat16, requires_grad=True)
    F.layer_norm(x, (2,), g, b).sum().backward()
    return float((b.grad.double() - 4096).abs().max()), 4096 * 2**-8


def erf_near_zero() -> tuple[float, float]:
    x = torch.tensor([2.0**-19], dtype=torch.bfloat16)
    right = torch.erf(x.double())
    return float((torch.erf(x).double() / right - 1).abs().max()), 2 * 2**-8


def hardsigmoid_slope() -> tuple[float, float]:
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    F.hardsigmoid(x).sum().backward()
    return abs(float(x.grad) - 1 / 6), 2**-53


def layer_norm_by_hand_overflows() -> tuple[float, float]:
    """Numbers around 0.01: their rstd is 100, whose cube is no number of float16."""
    x = torch.tensor([[0.01, -0.01, 0.005, -0.005]], dtype=torch.float16, requires_grad=True)
    c = x - x.mean(-1, keepdim=True)
    y = c * torch.rsqrt(c.pow(2).mean(-1, keepdim=True) + 1e-5)
    y[0, 0].backward()
    return (0.0 if bool(torch.isfinite(x.grad).all()) else np.inf), 1.0


def sigmoid_by_hand_overflows() -> tuple[float, float]:
    """e¹² is no number of float16, nor e⁹⁰ of float32: the reciprocal is 0, the derivative of that not a number."""
    gone = []
    for least, dtype in ((-12.0, torch.float16), (-90.0, torch.float32)):
        x = torch.tensor([least], dtype=dtype, requires_grad=True)
        (1 / (1 + torch.exp(-x))).backward()
        gone.append(not torch.isfinite(x.grad).all())
    return (np.inf if all(gone) else 0.0), 1.0


def one_minus_sigmoid() -> tuple[float, float]:
    """The weight of a part whose log-sum-exp is less by 20: 2e-9, and 0 comes out."""
    o, lse = torch.ones(2, dtype=torch.float32, requires_grad=True), torch.tensor([0.0, 20.0])
    (o[0] - torch.sigmoid(lse[1] - lse[0]) * (o[0] - o[1])).backward()
    return abs(float(o.grad[0]) / float(torch.sigmoid(torch.tensor(-20.0).double())) - 1), 1e-6


def label_smoother_in_float32() -> tuple[float, float]:
    """Ten classes alike: the loss is log 10."""
    from implementations import huggingface

    logits, labels = torch.zeros(3, 10, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    loss = huggingface.of("trainer_pt_utils.LabelSmoother")(1.0)({"logits": logits}, labels)
    return abs(float(loss) - np.log(10)), 1e-15


def conv2d_sums_of_steps() -> tuple[float, float]:
    """The gradient of the bias is a sum of 12,000 quarters; it comes out as 3,658 instead of 3,000.

    Without oneDNN, which torch asks first where the processor has arithmetic in float16."""
    x, w = torch.zeros(2000, 4, 8, 9, dtype=torch.float16), torch.zeros(4, 2, 3, 2, dtype=torch.float16)
    b = torch.zeros(4, dtype=torch.float16, requires_grad=True)
    with warnings.catch_warnings(action="ignore"), torch.backends.mkldnn.flags(enabled=False):  # the switch warns
        y = F.conv2d(x, w, b, stride=(2, 3), dilation=(2, 1), groups=2)
        y.backward(torch.full_like(y, 0.25))
    right = 0.25 * y[:, 0].numel()
    return float((b.grad.double() - right).abs().max()), right * 2**-11


def xla_rounds_running_sums() -> tuple[float, float]:
    """The gradient of a bias is a sum of 1200 ones."""
    import jax
    import jax.numpy as jnp

    ones, b = jnp.ones((3, 4, 20, 20), jnp.bfloat16), jnp.zeros(4, jnp.bfloat16)
    db = jax.jit(lambda b, dy: jax.vjp(lambda b: ones + b[:, None, None], b)[1](dy)[0])(b, ones)
    return float(abs(np.asarray(db).astype(float) - 1200).max()), 1200 * 2**-8


def jax_attention_in_float32() -> tuple[float, float]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    q = np.random.default_rng(0).normal(size=(1, 5, 1, 8))
    a = np.einsum("btnd,bsnd->bnts", q, q) / 8**0.5
    p = np.exp(a - a.max(-1, keepdims=True))
    right = np.einsum("bnts,bsnd->btnd", p / p.sum(-1, keepdims=True), q)
    return float(np.abs(np.asarray(jax.nn.dot_product_attention(*3 * [jnp.asarray(q)])) - right).max()), 1e-14


def keras_in_float32() -> tuple[float, float]:
    import keras

    a = torch.full((4, 4), 1 / 3, dtype=torch.float64)
    off = abs(float(keras.ops.mean(a, (0, 1))) - 1 / 3)
    return max(off, float((keras.ops.matmul(a, a) - a @ a).abs().max())), 1e-15


FINDINGS = (
    Finding("torch: layer_norm sums in half precision",
            "On a CPU, the gradients of scale and shift are running sums in bfloat16 or float16.",
            (("layernorm", "torch_layer_norm", "d[gb]"),), HALF, layer_norm_sums),
    Finding("torch: erf of tiny numbers in half precision",
            "On a CPU, erf has an error of 1e-7 of its own there: several per cent of erf(2e-6).",
            (("erf", "torch_erf", "y"), ("erf", "keras_erf", "y")), HALF, erf_near_zero),
    Finding("torch: hardsigmoid's slope in float64",
            "The gradient is 1/6 as float32 has it.",
            (("hard_swish", "torch_hardsigmoid", "dx"),), ("float64",), hardsigmoid_slope),
    Finding("torch: sums of strided, dilated and grouped convolutions in float16",
            "On a CPU without float16 arithmetic of its own, the gradient of the bias is a running sum in float16.",
            (("conv2d", "torch_*", "db"), ("depthwise", "torch_*", "db")), ("float16",), conv2d_sums_of_steps),
    Finding("normalisation composed in float16",
            "Autograd forms rstd³, which overflows where a row deviates by less than 0.02: infinity, or not a number.",
            (("layernorm", "torch_by_hand", "dx"), ("layernorm", "torch_rsqrt", "dx"),
             ("layernorm", "torch_scale_first", "dx"), ("layernorm", "jax_*", "dx"),
             ("batchnorm", "torch_flat", "dx"), ("batchnorm", "jax_*", "dx")), ("float16",),
            layer_norm_by_hand_overflows),
    Finding("1 / (1 + e⁻ˣ)",
            "Below -88, in float16 -11, the exponential overflows: the output is 0 and the gradient not a number.",
            (("squeeze_excite", "jax_einsum", "d*"),), ("float32", *HALF), sigmoid_by_hand_overflows),
    Finding("transformers: LabelSmoother in float64", "It sums the logarithms of all classes in float32.",
            (("cross_entropy", "torch_transformers_label_smoother", "*"),), ("float64",), label_smoother_in_float32),
    Finding("parts joined by 1 - σ",
            "As rings of devices join them, o - σ(lse′ - lse)(o - o′): of a small weight of what came before, 1 - σ, "
            "nothing is left but the rounding of σ.",
            (("merge", "torch_ring", "*"), ("flash", "torch_ring", "*")), ("float64", "float32", *HALF),
            one_minus_sigmoid),
    Finding("jax: running sums in half precision",
            "XLA for CPUs rounds a running sum to bfloat16 or float16 after every term where jax does not ask for "
            "float32: in gradients of what was broadcast, and in sums by einsum.",
            (("*", "jax_*", "d[bg]"), ("*", "jax_*", "db?"), ("*", "jax_*", "db_?"), ("*", "jax_*", "dbias"),
             ("global_average_pool2d", "jax_einsum", "y"), ("batchnorm", "jax_*", "dx"),
             ("attention", "jax_lowest_number", "dk")), HALF,
            xla_rounds_running_sums),
    Finding("jax: dot_product_attention in float64", "It computes in float32, and gives float64 back.",
            (("attention", "jax_dot_product_attention", "*"), ("grouped_query", "jax_dot_product_attention", "*")),
            ("float64",), jax_attention_in_float32),
    Finding("keras: products and means in float64", "On torch, they are computed in float32.",
            (("linear", "keras_*", "*"), ("*", "keras_mean", "*"), ("conv2d", "keras_*", "*")), ("float64",),
            keras_in_float32),
)


def covering(op: str, implementation: str, part: str, precision: str) -> str:
    """The name of the finding that explains a rejection, or ""."""
    return next((f.name for f in FINDINGS if f.covers(op, implementation, part, precision)), "")
