"""Figures: where things are drawn, that axes are labelled, and that nothing is left half-written."""

import subprocess
import sys

import numpy as np
import pytest

from visattn import plot

pytest.importorskip("matplotlib")


@pytest.fixture
def ax():
    return plot.figure()[1]


def test_no_state_is_shared():
    code = ("import sys; from visattn import plot; fig, ax = plot.figure(); plot.curves(ax, {'a': [1, 2]}, 'x', 'y')\n"
            "assert plot.png(fig)[1:4] == b'PNG'; assert 'matplotlib.pyplot' not in sys.modules")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("rows", "columns", "shape"), [(1, 1, ()), (1, 3, (3,)), (2, 3, (2, 3))])
def test_figure_gives_as_many_axes_as_asked_for(rows, columns, shape):
    _, axes = plot.figure(rows, columns)
    assert np.shape(axes) == shape


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (3, 5, 7), (5, 7, 3)])
def test_an_image_is_taken_in_every_layout_and_put_on_its_pixels(ax, rng, shape):
    shown = plot.image(ax, rng.random(shape))
    assert tuple(shown.get_extent()) == (0, 7, 5, 0)


def test_what_is_not_an_image_is_refused(ax):
    with pytest.raises(ValueError, match=r"got shape \(2, 5, 7\)"):
        plot.image(ax, np.zeros((2, 5, 7)))


def test_weights_cover_the_image_and_the_query_is_framed_where_it_is(ax, rng):
    weights = rng.random((2, 3))
    shown = plot.attention(ax, rng.random((1, 8, 12)), weights, query=(1, 2))
    assert tuple(shown.get_extent()) == (0, 12, 8, 0)
    assert shown.get_clim() == (0, weights.max())
    for box in ax.patches:
        assert box.get_xy() == (2 * 12 / 3, 8 / 2)
        assert (box.get_width(), box.get_height()) == (4, 4)
    assert len(ax.patches) == 2


def test_no_attention_at_all_is_drawn_too(ax):
    assert plot.attention(ax, np.zeros((4, 4)), np.zeros((2, 2))).get_clim() == (0, 1)


def test_more_weight_is_denser():
    ramp = plot._ramp(plot.GLOW)
    alphas = [ramp(w)[3] for w in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert alphas == sorted(alphas)
    assert alphas[0] == 0


def test_gates_are_bars_or_rows_and_say_what_they_are(ax):
    bars = plot.gates(ax, [0.25, 0.5])
    assert [bar.get_height() for bar in bars] == [0.25, 0.5]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("channel", "gate")
    _, table = plot.figure()
    plot.gates(table, np.zeros((2, 3)), rows=["a", "b"])
    assert [t.get_text() for t in table.get_yticklabels()] == ["a", "b"]


def test_a_grid_that_looks_everywhere_is_the_frame_of_the_image():
    corners = np.array([[[-1, -1], [1, -1]], [[-1, 1], [1, 1]]])
    u, v = plot.pixels(corners, (4, 6), align_corners=False)
    assert u.tolist() == [[0, 6], [0, 6]]
    assert v.tolist() == [[0, 0], [4, 4]]
    u, v = plot.pixels(corners, (4, 6), align_corners=True)          # centres of the corner pixels
    assert u.tolist() == [[0.5, 5.5], [0.5, 5.5]]
    assert v.tolist() == [[0.5, 0.5], [3.5, 3.5]]


def test_a_grid_is_drawn_as_a_closed_frame(ax):
    t = np.linspace(-1.5, 0.5, 3)
    plot.sampling_grid(ax, np.zeros((4, 6)), np.stack(np.meshgrid(t, t), -1))
    frame = ax.lines[-1]
    assert frame.get_xydata()[0].tolist() == frame.get_xydata()[-1].tolist()
    assert ax.get_xlim()[0] == frame.get_xdata().min() < 0           # what lies outside the image is seen too


def test_curves_are_labelled(ax):
    plot.curves(ax, {"training": [3, 2], "held out": ([1, 5], [2, 1])}, x="epoch", y="loss")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["training", "held out"]
    assert ax.lines[0].get_xdata().tolist() == [1, 2]
    assert ax.lines[1].get_xdata().tolist() == [1, 5]


def test_verdicts_are_one_cell_each_and_say_what_their_colours_mean(ax):
    shown = plot.verdicts(ax, [[1, 0], [2, 0], [0, 1]], ["a: one", "a: two", "b: one"], ["here", "there"],
                          x="test", y="mistake")
    assert shown.get_array().tolist() == [[1, 0], [2, 0], [0, 1]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("test", "mistake")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a: one", "a: two", "b: one"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["here", "there"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["killed", "survived"]
    colours = [shown.cmap(shown.norm(cell)) for cell in (0, 1, 2)]
    assert len(set(colours)) == 3
    assert [h.get_facecolor() for h in ax.get_legend().get_patches()] == colours[1:]
    dividing = [line.get_ydata()[0] for line in ax.lines if line.get_color() == plot.INK]
    assert dividing == [1.5]                                         # where the group changes


def test_verdicts_of_another_shape_are_refused(ax):
    with pytest.raises(ValueError, match=r"cells must be \(1, 2\).*got \(2, 1\)"):
        plot.verdicts(ax, [[1], [0]], ["a: one"], ["here", "there"], x="test", y="mistake")


def test_a_figure_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    fig, ax = plot.figure()
    shown = plot.attention(ax, np.zeros((4, 4)), np.ones((2, 2)))
    plot.colour_bar(fig, shown, ax, "weight")
    path = plot.save(fig, tmp_path / "new" / "a.png")
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG")
    assert plot.save(fig, tmp_path / "a.svg").read_text().startswith("<?xml")
    assert plot.svg(fig).startswith("<svg")

    monkeypatch.setattr(plot.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        plot.save(fig, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_another_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.pdf: a figure is written as \.png or \.svg"):
        plot.save(plot.figure()[0], tmp_path / "a.pdf")


def test_the_same_figure_gives_the_same_bytes():
    def draw():
        fig, ax = plot.figure()
        plot.curves(ax, {"a": [1, 2, 3]}, "x", "y")
        return fig

    assert plot.svg(draw()) == plot.svg(draw())


def test_a_notebook_shows_a_figure_by_itself():
    assert plot.figure()[0]._repr_png_().startswith(b"\x89PNG")


def test_without_matplotlib_the_line_that_brings_it_is_said(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install"):
        plot.figure()
