"""performer-pytorch, and others of which nothing is compared."""

import performer_pytorch
from entries import NOT_COMPARED

assert performer_pytorch
NOT_COMPARED |= {
    "performer_pytorch.FastAttention": "linear attention, by random features or without: no operator here",
    "torchnlp.nn.Attention": "a dot product without scale, and tanh of a linear map of mean and query: no "
       "operator here",
    "attention.Attention (philipperemy)": "one query, the last state, and tanh of a linear map of mean and query: no "
                                          "operator here",
    "halonet_pytorch.HaloAttention": "windows with relative positions: no operator here",
}
