"""What transformers has, under the arguments of operators.  Loaded when it is called first; NotTaken without it."""

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from implementations import NotTaken, opened

MEANS = "masked_row_uniform", "empty_rows_are_means_with_gradients", "empty_rows_are_nan_everywhere"


@cache
def of(path: str) -> Any:
    """A function or class, by its path below transformers."""
    module, _, name = f"transformers.{path}".rpartition(".")
    try:
        import_module("transformers")
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise NotTaken("transformers is not installed") from None


def additive(mask, dtype):
    """The mask that its models make: 0, and the lowest number of the dtype."""
    return None if mask is None else torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)


def without_keys(mask):
    return mask is not None and not bool(mask.any(-1).all())


def with_four_axes(q, mask, bias):
    """The mask that models of this package pass, with axes of batch and heads."""
    if q.ndim != 4:
        raise NotTaken("other than four axes")
    if q.dtype == torch.float16 and without_keys(mask):
        raise NotTaken("queries without a key in float16: the lowest number and a score may be -∞ together, or not")
    mask = additive(mask, q.dtype)
    mask = bias if mask is None else mask if bias is None else mask + bias
    return None if mask is None else mask[(None,) * (4 - mask.ndim)]


def eager(model):
    """The eager_attention_forward of a model; nearly all have their softmax in float32."""
    def attend(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
        written = of(f"models.{model}.modeling_{model}.eager_attention_forward")
        if q.dtype == torch.float64 and model != "gpt2":
            raise NotTaken("its softmax is in float32")
        if softcap is not None and model != "gemma2":
            raise NotTaken("softcap")
        heads = SimpleNamespace(num_key_value_groups=q.shape[-3] // k.shape[-3] if q.ndim == 4 else 1, training=False)
        mask = with_four_axes(q, opened(q, k, mask, causal), bias)
        more = {} if softcap is None else {"softcap": softcap}
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        return written(heads, q, k, v, mask, scaling=scale, **more)[0].transpose(1, 2)
    return attend


def sdpa(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    """sdpa_attention_forward: boolean masks, a bias beside them, and causal by a flag where there is nothing else."""
    if softcap is not None:
        raise NotTaken("softcap")
    if q.ndim != 4:
        raise NotTaken("other than four axes")
    only = causal == "top_left" and mask is None
    mask = None if only else opened(q, k, mask, causal)
    if bias is not None and without_keys(mask):
        raise NotTaken("queries without a key, beside a bias")
    N, G, T, S = *q.shape[:3], k.shape[2]
    mask, bias = (a if a is None else a.expand(N, G, T, S) for a in (mask, bias))
    heads = SimpleNamespace(num_key_value_groups=G // k.shape[1])
    return of("integrations.sdpa_attention.sdpa_attention_forward")(
        heads, q, k, v, mask, scaling=scale, is_causal=only, position_bias=bias)[0].transpose(1, 2)


@cache
def sizes() -> Any:
    """What makes features of one size of many, exactly: it stands with the adapters of packages."""
    sys.path.append(str(Path(__file__).parent.parent / "packages"))
    return import_module("heads").in_one_size


@cache
def module(path: str, config: str, how: str, size: int, heads: int, dtype: Any) -> Any:
    settings = of(config)(hidden_size=size, num_attention_heads=heads, attn_implementation=how)
    if hasattr(settings, "attention_downsample_rate"):
        settings.attention_downsample_rate = 1
    return of(path)(settings).to(dtype).eval()


def layer(path, config, how, out="out_proj", itself=True):
    """A module of attention as `multihead`: features filled up with zeros to one size, weights given for a call."""
    def attend(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
        if how == "eager" and x.dtype == torch.float64:
            raise NotTaken("its softmax is in float32")
        if itself and x.shape[1] > context.shape[1]:
            raise NotTaken("more queries than keys")
        of(path)
        mask = opened(x, context, mask, causal)
        if without_keys(mask) and (how == "sdpa" or x.dtype == torch.float16):
            raise NotTaken("queries without a key")
        mask = None if mask is None else mask[(None,) * (4 - mask.ndim)]
        s = sizes()(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask, itself=itself)
        weights = {f"{name}.{part}": getattr(s, ("b" if part == "bias" else "") + short)
                   for part in ("weight", "bias")
                   for name, short in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), (out, "o"))}
        inputs = (s.x,) if itself else (s.x[:, None], s.context[:, None], s.context[:, None])
        made = module(path, config, how, len(s.q), heads, x.dtype)
        y = torch.func.functional_call(made, weights, (*inputs, additive(s.mask, x.dtype)))[0]
        return (y if itself else y[:, 0])[s.cut]
    return attend
