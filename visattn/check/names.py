"""What people call the arguments of operators, and the `Spec` of an operator: plain data, read from its signature.

    spec = spec_of(attention, file="student.py", name="my_attention")

An operator's own mistakes file may list more names, and other spellings of an option's values, as
ALIASES = {"is_causal": ("causal", {"top_left": True, None: False})}.  A name that could be two things is in no table:
then the user says it, with `aliases`.
"""

import inspect
import typing
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from visattn.check import changes
from visattn.check.child.records import Spec

# Names that mean this argument wherever an operator has it.  Capitals and underscores do not matter.
EVERYWHERE: dict[str, tuple[str, ...]] = {
    "x": ("input", "inputs", "img", "image", "images", "feature_map", "feature_maps", "features"),
    "q": ("query", "queries"),
    "k": ("key", "keys"),
    "v": ("value", "values"),
    "mask": ("attn_mask", "attention_mask"),
    "bias": ("attn_bias", "attention_bias"),
    "scale": ("sm_scale", "softmax_scale"),
    "softcap": ("logit_cap", "logits_soft_cap"),
    "heads": ("num_heads", "n_heads", "n_head", "nhead"),
    "logits": ("input", "inputs", "x", "scores"),
    "labels": ("label", "target", "targets"),
    "ids": ("indices", "idx", "input_ids", "tokens"),
    "eps": ("epsilon",),
    "axis": ("dim",),
    "rate": ("p", "drop_rate", "dropout_rate"),
    "kernel": ("kernel_size", "pool_size"),
    "stride": ("strides",),
    "padding": ("pad",),
    "dilation": ("dilation_rate",),
    "context": ("encoder_hidden_states",),
    "loc": ("location",),
    "wx": ("w_ih", "weight_ih", "w_xh"),
    "wh": ("w_hh", "weight_hh"),
    "bx": ("b_ih", "bias_ih"),
    "bh": ("b_hh", "bias_hh"),
}
# Names that mean it in these operators only; elsewhere they could be another weight.
IN: dict[str, dict[str, tuple[str, ...]]] = {
    "linear": {"w": ("weight", "weights", "kernel"), "b": ("bias",)},
    "conv2d": {"w": ("weight", "weights", "kernel", "filters"), "b": ("bias",)},
    "depthwise": {"w": ("weight", "weights", "kernel", "filters"), "b": ("bias",)},
    "embedding": {"w": ("weight", "weights", "table", "embeddings")},
    "efficient_channel": {"w": ("weight", "kernel")},
    "spatial_gate": {"w": ("weight", "kernel")},
    "layernorm": {"g": ("gamma", "weight"), "b": ("beta", "bias")},
    "batchnorm": {"g": ("gamma", "weight"), "b": ("beta", "bias")},
    "lstm_cell": {"h": ("hx", "h0", "h_prev", "hidden"), "c": ("cx", "c0", "c_prev", "cell")},
    "gru_cell": {"h": ("hx", "h0", "h_prev", "hidden")},
    "grid_sample": {"padding": ("padding_mode",)},
    "squeeze_excite": {"w1": ("fc1", "w_reduce"), "w2": ("fc2", "w_expand")},
}
# What the arrays of an output are called, where there are several.
OUTPUTS = {"lstm_cell": ("h", "c"), "flash": ("o", "lse"), "merge": ("o", "lse")}


def spec_of(op: ModuleType, *, file: str = "", module: str = "", name: str = "", backward: str = "",
            framework: str = "auto", aliases: Mapping[str, Any] | None = None,
            weights: Mapping[str, str] | None = None, seed: int = 0, device: str = "") -> Spec:
    """The Spec with which a function is called as this operator is.

    aliases  names of the user's, beside those of the tables: {"temp": "scale"}, or with values
             {"causal_flag": ("causal", {"top_left": 1, None: 0})}
    weights  which argument is which weight of a module or layer: {"w1": "fc1.weight", "w2": "fc2.kernel.T"}; of a
             weight that holds several, the first of three equal parts, {"w_q": "qkv.weight[0/3]"}, or rows, "[0:64]"

    Raises LookupError where these name what the operator does not have, TypeError for a model, whose weights are trees.
    """
    own = op.__name__.rpartition(".")[2]
    parameters = inspect.signature(op.forward).parameters.values()
    if "Params" in vars(op) and any(p.name == "p" for p in parameters):
        raise TypeError(f"{own} is a model with a tree of weights; operators are checked, whose arguments are arrays")
    arguments = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
    optional = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY and p.default is None)
    options = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    known = {*arguments, *options}
    said = {user: _entry(entry) for user, entry in (aliases or {}).items()}
    for user, entry in said.items():
        target = entry if isinstance(entry, str) else entry[0]
        if target not in known:
            raise LookupError(f"{user} cannot be {target} of {own}, which has {', '.join((*arguments, *options))}")
    for argument in weights or {}:
        if argument not in arguments:
            raise LookupError(f"{argument} cannot be a weight of {own}, whose arguments are {', '.join(arguments)}")
    return Spec(
        file=str(file), module=module, name=name, backward=backward, framework=framework, op=own, arguments=arguments,
        optional=optional, options=options,
        required=tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty),
        aliases={**_table(op, known), **said}, weights=dict(weights or {}), seed=seed,
        defaults={p.name: p.default for p in parameters if p.default is not p.empty},
        outputs=_outputs(op), device=device)


def _table(op: ModuleType, known: set[str]) -> dict[str, Any]:
    """All names that mean an argument or option of this operator, none of which it has itself."""
    own = op.__name__.rpartition(".")[2]
    listed = {user: name for table in (EVERYWHERE, IN.get(own, {})) for name, users in table.items() for user in users
              if name in known}
    more = {user: _entry(entry) for user, entry in getattr(changes.listed(op.__name__), "ALIASES", {}).items()}
    return {user: entry for user, entry in {**listed, **more}.items() if user not in known}


def _entry(entry: Any) -> Any:
    """As a Spec holds it: a name, or [name, [[operator's value, user's value], …]]."""
    if isinstance(entry, str):
        return entry
    name, values = entry
    return [name, [list(pair) for pair in (values.items() if isinstance(values, Mapping) else values)]]


def _outputs(op: ModuleType) -> tuple[str, ...]:
    """What the operator's formulas call each array of its output: the o of backward(do, cache)."""
    own = op.__name__.rpartition(".")[2]
    returned = typing.get_args(inspect.signature(op.forward).return_annotation)
    several = typing.get_args(returned[0]) if returned and typing.get_origin(returned[0]) is tuple else ()
    if several:
        return OUTPUTS.get(own) or tuple(f"y{i or ''}" for i in range(len(several)))
    incoming = next(iter(inspect.signature(op.backward).parameters))
    return (incoming.removeprefix("d"),)
