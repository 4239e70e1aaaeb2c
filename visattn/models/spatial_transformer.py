"""A classifier that first decides where to look: it turns, scales and moves its view, then reads.

Jaderberg, Simonyan, Zisserman & Kavukcuoglu, "Spatial Transformer Networks", NIPS 2015, section 3.

    θ = loc(x)                      a small network names an affine map                 section 3.1
    grid = θ (x, y, 1)              where each pixel of the view looks  (1)             section 3.2
    v = x at the grid               the view, by bilinear interpolation (5)             section 3.3
    y = W₂ δ(W₁ v)                  read as if it had always been upright

Nothing tells loc where the digit is: all it hears is the gradient of the classification through the grid.  Its last
layer starts at the identity, so the first view is the whole image; `cache.grid` is where it looks, `cache.view` what
it sees there.
"""

from typing import Any, NamedTuple

import numpy as np

from visattn import ops
from visattn.models.encoder_block import perturbed
from visattn.ops._contract import Array, Float, checked, require
from visattn.ops.primitives import conv2d, linear


class Localisation(NamedTuple):
    conv1: conv2d.Params
    conv2: conv2d.Params
    hidden: linear.Params
    theta: linear.Params


class Params(NamedTuple):
    loc: Localisation
    hidden: linear.Params                           # W₁
    head: linear.Params                             # W₂


class Cache(NamedTuple):
    theta: Float[Array, "N 2 3"]
    grid: Float[Array, "N Ho Wo 2"]                 # where it looks, as (x, y) in [-1, 1]
    view: Float[Array, "N C Ho Wo"]                 # what it sees there
    loc: tuple[Any, ...]
    affine: Any
    sample: Any
    classify: tuple[Any, ...]
    F: Any


def rules(x, p, size):
    require(min(size) >= 1, "size", "be at least 1 by 1", size)
    C = p.loc.conv1.w.shape[1]
    require(x.shape[1] == C, "x", f"have the {C} channels that p was made for", x.shape[1])
    H, W = (-(-n // 4) for n in x.shape[2:])                    # after two convolutions of stride 2
    features = len(p.loc.conv2.w) * H * W
    require(p.loc.hidden.w.shape[1] == features, "p.loc.hidden.w", f"take {features} features, for images of "
            f"{x.shape[2]} by {x.shape[3]}", p.loc.hidden.w.shape[1])
    values = x.shape[1] * size[0] * size[1]
    require(p.hidden.w.shape[1] == values, "p.hidden.w", f"take the {values} values of a view", p.hidden.w.shape[1])


@checked(rules)
def forward(
    x: Float[Array, "N C H W"],
    p: Params,
    *,
    size: tuple[int, int],
    F: Any = ops,
) -> tuple[Float[Array, "N O"], Cache]:
    """y (N, O): scores of O classes.

    size    (Ho, Wo), rows and columns of the view
    F       where the operators come from
    """
    theta, loc = localise(x, p.loc, F)                                          # (N, 2, 3)
    grid, affine = F.affine_grid.forward(theta, size=size, align_corners=False) # (N, Ho, Wo, 2)        (1)
    view, sample = F.grid_sample.forward(x, grid, align_corners=False)          # (N, C, Ho, Wo)        (5)
    h, hidden = F.linear.forward(view.reshape(len(x), p.hidden.w.shape[1]), *p.hidden)   # (N, M)
    h, relu = F.relu.forward(h)
    y, head = F.linear.forward(h, *p.head)                                      # (N, O)
    return y, Cache(theta, grid, view, loc, affine, sample, (hidden, relu, head), F)


@checked
def backward(dy: Float[Array, "N O"], cache: Cache) -> tuple[Array, Params]:
    """forward, read from its last line to its first.

        y = W₂ δ(W₁ v)          dv by linear and relu
        v = x at the grid       dx and dgrid by grid_sample: how would the view change, if it looked a little aside
        grid = θ (x, y, 1)      dθ by affine_grid
        θ = loc(x)              dx += …         x fed the sampler and loc
    """
    F, (hidden, relu, head) = cache.F, cache.classify
    dh, *dhead = F.linear.backward(dy, head)
    dh, = F.relu.backward(dh, relu)
    dv, *dhidden = F.linear.backward(dh, hidden)
    dx, dgrid = F.grid_sample.backward(dv.reshape(cache.view.shape), cache.sample)
    dtheta, = F.affine_grid.backward(dgrid, cache.affine)
    dx_loc, dloc = localise_backward(dtheta, cache.loc, F)
    return dx + dx_loc, Params(dloc, linear.Params(*dhidden), linear.Params(*dhead))


def localise(x, p, F):
    """θ (N, 2, 3) of two convolutions, which halve the image each, and two linear layers."""
    a, conv1 = F.conv2d.forward(x, *p.conv1, stride=2, padding=1)
    a, relu1 = F.relu.forward(a)
    a, conv2 = F.conv2d.forward(a, *p.conv2, stride=2, padding=1)
    a, relu2 = F.relu.forward(a)
    h, hidden = F.linear.forward(a.reshape(len(a), p.hidden.w.shape[1]), *p.hidden)
    h, relu3 = F.relu.forward(h)
    theta, last = F.linear.forward(h, *p.theta)
    return theta.reshape(-1, 2, 3), (conv1, relu1, conv2, relu2, a.shape, hidden, relu3, last)


def localise_backward(dtheta, cache, F):
    conv1, relu1, conv2, relu2, shape, hidden, relu3, last = cache
    dh, *dlast = F.linear.backward(dtheta.reshape(-1, 6), last)
    dh, = F.relu.backward(dh, relu3)
    da, *dhidden = F.linear.backward(dh, hidden)
    da, = F.relu.backward(da.reshape(shape), relu2)
    da, *dconv2 = F.conv2d.backward(da, conv2)
    da, = F.relu.backward(da, relu1)
    dx, *dconv1 = F.conv2d.backward(da, conv1)
    return dx, Localisation(conv2d.Params(*dconv1), conv2d.Params(*dconv2), linear.Params(*dhidden),
                            linear.Params(*dlast))


def init(rng, image, size, O, C=1, I=8, M=32):
    """For images of C channels, `image` = (H, W), and views of `size` = (Ho, Wo): I and 2 I channels in loc, M features
    in its hidden layer and 2 M in the classifier's, O classes.  θ starts at the identity, whatever the image."""
    H, W = (-(-n // 4) for n in image)
    identity = linear.Params(np.zeros((6, M)), np.array([1.0, 0, 0, 0, 1, 0]))
    loc = Localisation(conv2d.init(rng, C, I), conv2d.init(rng, I, 2 * I), linear.init(rng, 2 * I * H * W, M), identity)
    return Params(loc, linear.init(rng, C * size[0] * size[1], 2 * M), linear.init(rng, 2 * M, O))


def example(rng):
    N, C, H, W, size, O, I, M = 2, 3, 7, 6, (4, 5), 3, 2, 4
    p = init(rng, (H, W), size, O, C, I, M)
    return (rng.normal(size=(N, C, H, W)), perturbed(p, rng)), {"size": size}
