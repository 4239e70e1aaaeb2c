"""The demo: what is looked at is what is drawn, the page stands alone, and nothing is left half-done."""

import base64
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from visattn import cli, ops, tree
from visattn.check import verify
from visattn.data import photos
from visattn.demo import charts, findings, look, page, run, show
from visattn.models import vit
from visattn.tasks import classify


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A demo in its shortest form: three operators, one epoch each."""
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        said = []
        demo = run.run(tmp_path_factory.mktemp("demo"), quick=True, progress=lambda *step: said.append(step))
    return SimpleNamespace(demo=demo, said=said, folder=demo.page.parent, text=demo.page.read_text())


def shorten(patch):
    patch.setattr(run, "QUICK", dict.fromkeys(run.NETWORKS, 1))
    patch.setattr(run.catalogue, "everything", lambda: ["attention", "squeeze_excite", "spatial_transformer"])


# Looking

def test_an_image_is_cut_into_square_patches_of_its_middle():
    tiles = look.cut(np.arange(3 * 100 * 150, dtype=float).reshape(3, 100, 150), about=24)
    assert (tiles.rows, tiles.columns) == (4, 6)
    assert tiles.x.shape == (3, 100, 150)
    tiles = look.cut(np.zeros((3, 103, 158)), about=24)
    assert (tiles.rows, tiles.columns, tiles.size) == (4, 6, (26, 26)) or tiles.size[0] == tiles.size[1]
    assert tiles.x.shape[1:] == (tiles.rows * tiles.size[0], tiles.columns * tiles.size[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 500), (300, 1), (5, 5)])
def test_an_image_of_any_shape_can_be_looked_at(shape, rng):
    maps = look.by_likeness(look.cut(rng.random((3, *shape))))
    np.testing.assert_allclose(maps.sum(-1), 1)


def test_likeness_is_a_gaussian_of_the_distance_of_features(rng):
    tiles = look.cut(rng.random((3, 40, 60)), about=24)
    maps = look.by_likeness(tiles)
    texture = look.features(tiles)[1]
    t, s = 3, 8
    e = np.exp(-look.HEADS["texture"] * ((texture[t] - texture) ** 2).sum(1) / 2)
    assert maps[list(look.HEADS).index("texture")][t, s] == pytest.approx(e[s] / e.sum())


def test_equal_patches_attract_each_other_most():
    x = np.zeros((3, 20, 30))
    x[0, :, :15] = 1                                    # left half red, right half black
    p = look.by_likeness(look.cut(x, about=6))[list(look.HEADS).index("colour")]
    assert (p[0].reshape(2, 3)[:, 0] > p[0].reshape(2, 3)[:, 2]).all()


def test_shrinking_averages_areas():
    x = np.arange(24, dtype=float).reshape(1, 4, 6)
    assert look.shrunk(x, 2, 3)[0].tolist() == [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]
    np.testing.assert_allclose(look.shrunk(x, 3, 5).mean(), x.mean())
    np.testing.assert_array_equal(look.shrunk(x, 4, 6), x)


def test_what_there_is_less_of_is_ink():
    x = np.ones((3, 10, 10))
    x[:, 4:6, 4:6] = 0                                  # dark on bright
    ink, negative = look.as_ink(x, 10, 10)
    assert negative
    assert ink[0, 4, 4] == 1
    assert ink[0, 0, 0] == 0
    ink, negative = look.as_ink(1 - x, 10, 10)
    assert not negative
    assert ink[0, 4, 4] == 1
    assert look.as_ink(np.ones((3, 5, 5)), 2, 2)[0].tolist() == [[[0, 0], [0, 0]]]


def test_positions_are_stretched_ends_on_ends(rng):
    p = vit.init(rng, 8, 2, 8, 2, 1, 3)
    assert look.stretched(p, (4, 4), (4, 4)) is p
    known, pos = p.pos[1:].reshape(4, 4, -1), look.stretched(p, (4, 4), (7, 10)).pos
    wide = pos[1:].reshape(7, 10, -1)
    np.testing.assert_array_equal(pos[0], p.pos[0])
    np.testing.assert_allclose(wide[0, 0], known[0, 0])
    np.testing.assert_allclose(wide[-1, -1], known[-1, -1])
    np.testing.assert_allclose(wide[2, 3], known[1, 1])                     # 2 of 6 steps are 1 of 3; so are 3 of 9
    np.testing.assert_allclose(wide[1, 0], (known[0, 0] + known[1, 0]) / 2)


def test_gates_are_read_off_both_kinds_of_gate(rng):
    x = rng.normal(size=(2, 8, 5, 6))
    _, cache = ops.squeeze_excite.forward(x, *ops.squeeze_excite.init(rng, 8, r=2))
    assert look.gates_of(cache).channels.shape == (2, 8)
    assert look.gates_of(cache).places is None
    _, cache = ops.cbam.forward(x, *ops.cbam.init(rng, 8, r=2))
    gate = look.gates_of(cache)
    assert gate.channels.shape == (2, 8)
    np.testing.assert_allclose(1 / (1 + np.exp(-gate.odds)), gate.places)


# Drawing

def test_ticks_are_round_and_hold_everything():
    assert charts.ticks(0, 2.3, 5) == [0, 0.5, 1, 1.5, 2, 2.5]
    assert charts.ticks(0.83, 1, 5) == [0.8, 0.85, 0.9, 0.95, 1]
    assert len(charts.ticks(3, 3, 5)) > 1


def test_names_of_lines_stay_apart_and_inside():
    assert charts.apart([10, 12, 50], 13, 100) == [10, 23, 50]
    assert charts.apart([98, 99], 13, 100) == [87, 100]


def test_a_chart_says_what_its_axes_are():
    svg = charts.line_chart([charts.Line("a <b>", [1, 2], [0.5, 0.25])], x="epoch", y="loss", title="Loss")
    assert ">epoch<" in svg
    assert ">loss<" in svg
    assert "a &lt;b&gt;" in svg
    table = charts.gate_table([[0.25, 1.0]], ["7"], x="channel", y="digit", title="Gates", low=0, high=1)
    assert "digit 7, channel 1: 1.00" in table
    assert "--share:0.250" in table


def test_a_reader_of_the_page_gets_the_weights_back(rng):
    maps = rng.random((2, 3, 2, 7, 7))                  # a class token and 6 patches
    explorer = page.Explorer("x", [page.Picture("a", "data:,"), page.Picture("b", "data:,")], maps, 2, 3, ["0"] * 3,
                             ["0", "1"], {}, token="The class token")
    kept = json.loads(explorer.json)
    share = np.frombuffer(base64.b64decode(kept["weights"]), np.uint8).reshape(maps.shape)
    tops = np.frombuffer(base64.b64decode(kept["tops"]), "<f4").reshape(maps.shape[:-1])
    patches = share[..., 1:] / 255 * tops[..., None]
    np.testing.assert_allclose(patches, maps[..., 1:], atol=0.5 / 255)
    assert share[..., 1:].max(-1).min() == 255


def test_data_cannot_end_its_script():
    assert "<" not in page.for_script({"a": "</script><b>"})
    assert json.loads(page.for_script({"a": "</script>"})) == {"a": "</script>"}


def test_powers_of_ten_are_typeset_and_the_rest_escaped():
    assert str(findings.typeset("a < 4e-10")) == "a &lt; 4 × 10<sup>−10</sup>"


# The page

class Reader(HTMLParser):
    """What a page holds, loads and refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"


def test_the_page_is_well_formed_and_loads_nothing(made):
    reader = Reader(made.text)
    assert reader.open == []
    for tag, attributes in reader.tags:
        for name in ("src", "href"):
            if tag != "a" and name in attributes:
                assert attributes[name].startswith("data:"), (tag, attributes[name][:60])
    assert "@import" not in made.text
    assert "url(http" not in made.text
    assert "fetch(" not in made.text


def test_its_links_lead_somewhere(made):
    tags = Reader(made.text).tags
    ids = {attributes.get("id") for _, attributes in tags}
    for tag, attributes in tags:
        if tag == "a":
            href = attributes["href"]
            assert href[1:] in ids if href.startswith("#") else (made.folder / href).is_file(), href


def test_everything_that_is_seen_has_a_name(made):
    for tag, attributes in Reader(made.text).tags:
        if tag == "img":
            assert attributes.get("alt")
        if tag == "svg" or (tag == "canvas" and "class" in attributes):
            assert attributes.get("aria-label")
            assert attributes.get("role") == "img"


def test_the_page_says_what_it_must(made):
    words = unescape(" ".join(re.sub(r"<[^>]*>", " ", made.text).split()))
    assert "2 operators of visual attention, proved on this machine." in words
    assert "3 of 3" in words
    assert words.count("not trained on photographs") == 2                   # both networks that are shown one
    assert words.count("What to see.") >= 6
    assert photos.PHOTOS["china"] in words
    assert "UCI" in words
    assert "This was a quick run" in words
    for label in ("epoch", "cross-entropy, training", "held-out digits read right", "channel", "digit"):
        assert f">{label}<" in made.text


def test_its_data_are_those_of_the_networks(made):
    trained = made.demo.networks["vit"].trained
    digits = classify.load_data("digits")
    chosen = findings.one_of_each(digits.test)
    assert digits.test.labels[chosen].tolist() == list(range(10))
    _, cache = classify.forward(trained, digits.test.x[chosen])
    kept = json.loads(re.search(r'id="digits-data">(.*?)</script>', made.text)[1])
    tops = np.frombuffer(base64.b64decode(kept["tops"]), "<f4").reshape(10, 2, 4, 17)
    np.testing.assert_allclose(tops[3, 1, 2], cache.blocks[1].p[3, 2, :, 1:].max(-1), rtol=1e-5)


def test_progress_goes_from_nothing_to_all(made):
    stages = list(dict.fromkeys(stage for stage, *_ in made.said))
    assert stages[0] == "verifying"
    assert stages[-1] == "looking"
    for stage in stages:
        shares = [share for name, share, _ in made.said if name == stage]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0


def test_weights_and_curves_are_beside_the_page(made):
    for name, result in made.demo.networks.items():
        folder = Path(result.files["weights"]).parent
        assert folder.parent == made.folder / "networks"
        assert {file.name for file in folder.iterdir()} == {"weights.safetensors", "curve.png", "result.json"}
        again = classify.load(folder / "weights.safetensors")
        for one, two in zip(tree.leaves(again.p), tree.leaves(result.trained.p), strict=True):
            np.testing.assert_array_equal(one, two, err_msg=name)


def test_running_again_is_safe_and_a_failure_changes_nothing(made, monkeypatch):
    shorten(monkeypatch)
    before = made.demo.page.read_bytes()

    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(page, "render", fail)
        patch.setattr(run, "train", lambda name, *_: made.demo.networks[name])
        with pytest.raises(OSError, match="no space left"):
            run.run(made.folder, quick=True)
    assert made.demo.page.read_bytes() == before
    assert run.run(made.folder, quick=True).page == made.demo.page
    assert [p.name for p in made.folder.iterdir() if p.name.startswith((".", "tmp"))] == []


def test_what_does_not_hold_is_said_at_the_top(made, monkeypatch):
    shorten(monkeypatch)
    wrong = [r._replace(passed=False, problems=("off by a lot",)) if r.name == "attention" else r
             for r in made.demo.results]
    monkeypatch.setattr(verify, "verify", lambda names, progress: wrong)
    monkeypatch.setattr(run, "train", lambda name, *_: made.demo.networks[name])
    text = run.run(made.folder, quick=True).page.read_text()
    assert "1 of 3 formulas do not hold on this machine." in text
    assert "off by a lot" in text
    assert "<details open>" in text


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file"):
        run.run(tmp_path / "demo")
    assert (tmp_path / "demo").read_text() == "mine"


# The commands

@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """(exit status, stdout, stderr) of a command run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        status = cli.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


@pytest.fixture
def picture(tmp_path, rng):
    path = tmp_path / "mine.png"
    Image.fromarray(rng.integers(0, 255, (60, 90, 3), np.uint8)).save(path)
    return path


def test_demo_ends_with_the_page(command, monkeypatch, made):
    monkeypatch.setattr(run, "run", lambda out, quick, seed, progress: made.demo)
    status, out, _ = command("demo", "--quick")
    assert status == 0
    assert "of held-out digits right" in out
    assert str(made.demo.page) in out.replace("\n", "")


def test_demo_fails_when_something_does_not_hold(command, monkeypatch, made):
    wrong = made.demo._replace(results=[made.demo.results[0]._replace(passed=False), *made.demo.results[1:]])
    monkeypatch.setattr(run, "run", lambda out, quick, seed, progress: wrong)
    status, out, _ = command("demo")
    assert status == 1
    assert "1 of 3 does not hold: attention." in out


def test_an_interrupted_demo_says_how_it_goes_on(command, monkeypatch):
    def stop(*_):
        raise classify.Interrupted("interrupted in epoch 3 of 12, after step 4", 2)

    monkeypatch.setattr(run, "run", stop)
    status, _, err = command("demo")
    assert status == 130
    assert err == ("visattn: interrupted in epoch 3 of 12, after step 4; all of it is in build/demo: "
                   "the same command goes on from there\n")


def test_show_draws_a_patch_of_my_image(command, picture, made):
    weights = made.demo.networks["vit"].files["weights"]
    status, out, err = command("show", picture, "--patch", "3,5", "--weights", weights)
    assert status == 0
    assert out == "mine-attention.png\n"
    assert "patch 3,5 of 12 × 18" in err
    with Image.open("mine-attention.png") as figure:
        assert figure.width > 1000
    status, out, _ = command("show", picture, "--weights", weights, "--layer", 1, "--head", 2, "--out", "new/a.svg")
    assert status == 0
    text = Path("new/a.svg").read_text()
    assert "not on photographs" in text
    assert "layer 1, head 2" in text
    assert "layer 0, head 2" not in text


def test_show_draws_the_patch_that_was_asked_for(picture, made, monkeypatch):
    drawn = []
    monkeypatch.setattr(show.plot, "attention", lambda ax, x, weights, *rest: drawn.append((weights, *rest)))
    trained, asked = made.demo.networks["vit"].trained, show.query(picture, (3, 5))
    show.figure(asked, trained)
    maps = look.by_transformer(trained, asked.tiles).maps
    t = 3 * 18 + 5
    assert len(drawn) == len(look.HEADS) + 2 * 4
    weights, patch, title = drawn[-1]
    np.testing.assert_array_equal(weights.ravel(), maps[1, 3, 1 + t, 1:])     # token 0 is the class token
    assert patch == (3, 5)
    assert title.startswith("layer 1, head 3")


def test_show_trains_where_there_is_nothing_trained(command, picture, monkeypatch, made):
    asked = []

    def train(name, folder, quick, seed, progress):
        asked.append((name, folder))
        return made.demo.networks["vit"]

    monkeypatch.setattr(run, "train", train)
    status, _, err = command("show", picture)
    assert status == 0
    assert "there is no trained transformer in build/demo yet; training one" in err
    assert asked == [("vit", Path("build/demo"))]


def test_show_finds_what_the_demo_trained(monkeypatch, made):
    shorten(monkeypatch)
    assert show.kept_weights(made.folder) == Path(made.demo.networks["vit"].files["weights"])
    assert show.kept_weights(made.folder / "elsewhere") is None


@pytest.mark.parametrize(("arguments", "said"), [
    (["none.png"], "none.png: there is no such file"),
    (["mine.png", "--patch", "99,0"], "12 rows (0 to 11) and 18 columns (0 to 17)"),
    (["mine.png", "--patch", "three"], "a patch is ROW,COL, such as 3,5; got 'three'"),
    (["mine.png", "--layer", "2"], "layer must be from 0 to 1; got 2"),
    (["mine.png", "--head", "-1"], "head must be from 0 to 3; got -1"),
    (["mine.png", "--out", "a.gif"], "written as .png or .svg"),
    (["mine.png", "--out", "mine.png"], "is the image itself"),
    (["mine.png", "--weights", "none.safetensors"], "none.safetensors"),
    (["mine.png", "--weights", "mine.png"], "mine.png"),
    (["mine.png", "--weights", "CNN"], "the attention of patches is a transformer's"),
    (["mine.png", "--weights", "CUT"], "cut.safetensors"),
    (["cut.png"], "cut.png"),
    (["text.png"], "not a PNG or JPEG image"),
    (["empty.png"], "the file is empty"),
    (["."], "not a file"),
])
def test_a_mistake_costs_one_line_and_nothing_else(command, picture, made, tmp_path, arguments, said):
    weights = {name: r.files["weights"] for name, r in made.demo.networks.items()}
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:2000])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.safetensors").write_bytes(Path(weights["vit"]).read_bytes()[:-100])
    arguments = [{"CNN": weights["cnn"], "CUT": "cut.safetensors"}.get(a, a) for a in arguments]
    if "--weights" not in arguments:
        arguments += ["--weights", weights["vit"]]
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    status, out, err = command("show", *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("visattn: ")
    assert err.count("\n") == 1
    assert said in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(("missing", "arguments"), [
    ("matplotlib", ["show", "mine.png"]), ("PIL", ["show", "mine.png"]), ("sklearn", ["demo"]),
])
def test_a_missing_package_is_the_line_that_brings_it(command, picture, made, monkeypatch, missing, arguments):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    if arguments[0] == "show":
        arguments = [*arguments, "--weights", made.demo.networks["vit"].files["weights"]]
    status, out, err = command(*arguments)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "pip install" in err
