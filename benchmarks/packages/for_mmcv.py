"""mmcv-lite."""

from entries import called, entry
from mmcv.cnn.bricks.non_local import NonLocal2d
from torch.nn.functional import pad


def non_local_2d(scaled, x, w_g, w_z, w_theta, w_phi, w_f, form, copied=False):
    (C, M), wide = w_z.shape, max(w_z.shape)
    more, within = wide - C, wide - M
    weights = {"g.conv.weight": pad(w_g, (0, more, 0, within)), "conv_out.conv.weight": pad(w_z, (0, within, 0, more))}
    if form != "gaussian":
        weights |= {"theta.conv.weight": pad(w_theta, (0, more, 0, within)),
                    "phi.conv.weight": pad(w_phi, (0, more, 0, within))}
    weights = {name: w[..., None, None] for name, w in weights.items()}
    if form == "concatenation":
        halves = pad(w_f.reshape(2, M), (0, within)).reshape(1, 2 * wide, 1, 1)
        weights |= {"concat_project.conv.weight": halves}
    module = NonLocal2d(wide, reduction=1, use_scale=scaled, mode=form, sub_sample=False)
    if copied:
        module.concat_project.register_forward_hook(lambda module, args, y: y.clone())
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            weights[name] = x.new_zeros(parameter.shape)
    return called(module, weights, pad(x, (0, 0, 0, 0, 0, more)))[:, :C]


REMARK = "biases: set to 0; channels filled up with zeros, because it has no more inside than outside"


@entry("mmcv.cnn.NonLocal2d, gaussian", "non_local", REMARK, form="gaussian")
def gaussian(x, w_g, w_z, *, form):
    return non_local_2d(False, x, w_g, w_z, None, None, None, form)


@entry("mmcv.cnn.NonLocal2d, embedded_gaussian, use_scale=False", "non_local", REMARK, form="embedded_gaussian")
@entry("mmcv.cnn.NonLocal2d, dot_product", "non_local", REMARK, form="dot_product")
def two_projections(x, w_g, w_z, w_theta, w_phi, *, form):
    return non_local_2d(False, x, w_g, w_z, w_theta, w_phi, None, form)


@entry("mmcv.cnn.NonLocal2d, concatenation", "non_local", REMARK, form="concatenation")
def concatenation(x, w_g, w_z, w_theta, w_phi, w_f, *, form):
    return non_local_2d(False, x, w_g, w_z, w_theta, w_phi, w_f, form)


@entry("mmcv.cnn.NonLocal2d, concatenation, without inplace", "non_local", REMARK + "; its ReLU not in place, and its "
       "output copied: what is left of it", form="concatenation")
def concatenation_copied(x, w_g, w_z, w_theta, w_phi, w_f, *, form):
    return non_local_2d(False, x, w_g, w_z, w_theta, w_phi, w_f, form, copied=True)


@entry("mmcv.cnn.NonLocal2d, embedded_gaussian", "non_local", "as it is by default: the scores divided by the root of "
       "θ's channels", form="embedded_gaussian")
def non_local_scaled(x, w_g, w_z, w_theta=None, w_phi=None, *, form):
    if w_g.shape[0] < w_g.shape[1]:
        raise NotImplementedError("fewer channels inside: filled up, they would change the scale")
    return non_local_2d(True, x, w_g, w_z, w_theta, w_phi, None, form)
