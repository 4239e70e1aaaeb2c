"""One look of Show, Attend and Tell against the paper's equations in torch: there is no peer to run."""

import pytest

from visattn.ops import soft_caption

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


def look(a, h, wa, wh, v, b, wb, bb):
    """Eqs. (4), (5), (13) and section 4.2.1, one image at a time."""
    seen = []
    for annotations, state in zip(a, h):
        e = torch.stack([v @ torch.tanh(wa @ place + wh @ state + b) for place in annotations])         # (4)
        alpha = torch.softmax(e, 0)                                                                     # (5)
        beta = torch.sigmoid(wb @ state + bb)                                                           # 4.2.1
        seen.append(beta * sum(weight * place for weight, place in zip(alpha, annotations)))            # (13)
    return torch.stack(seen)


@pytest.mark.parametrize("gates", [1, 3])
def test_the_paper_in_torch(rng, agree, gates):
    """One gate, as in the paper and its authors' code; and one for each feature, as in popular re-implementations."""
    a, h, *p = soft_caption.example(rng)[0]
    agree(soft_caption, (a, h, *p[:4], rng.normal(size=(gates, 4)), rng.normal(size=gates)), {}, look)
