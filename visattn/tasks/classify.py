"""Which digit is it?  A small network trained from random weights, that says afterwards where it looked.

    cnn     gated_resnet: a residual network with a gate in every block, or none
    vit     the vision transformer
    stn     the spatial transformer, made for `scattered`: digits turned, zoomed and put anywhere on a larger canvas

    result = classify.train("vit", "digits", seed=3)
    trained = classify.load("runs/digits-vit-seed3/weights.safetensors")
    y, cache = classify.forward(trained, images)        # cache.blocks[0].p: the attention maps of the first layer

A run is a function of its Config: the same one gives the same weights, bit for bit on one machine, also when it was
interrupted and went on.
"""

import json
import math
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visattn import _atomic, data, models, ops, optim, tree
from visattn._extras import need
from visattn.data._data import Data, Split
from visattn.ops.primitives import cross_entropy, softmax
from visattn.tasks import _files, _loop
from visattn.tasks._augment import Moves, move
from visattn.tasks._files import BadFile
from visattn.tasks._loop import Interrupted, State

MODELS = ("cnn", "vit", "stn")
DATA = ("digits", "mnist5k", "scattered")
GATES = ("none", "squeeze_excite", "cbam")
CANVAS, VIEW = 20, 10                    # of `scattered`, and what the spatial transformer makes of it; pixels
SCATTER = Moves(shift=4, turn=0.8, smallest=0.9, largest=1.5, canvas=CANVAS)
WEIGHTS, CHECKPOINT, FIGURE, RESULT = "weights.safetensors", "checkpoint.safetensors", "curve.png", "result.json"


class Config(NamedTuple):
    """All that a run depends on."""

    model: str
    data: str
    gate: str
    seed: int
    epochs: int
    batch: int
    rate: float                          # the largest learning rate; it rises for a tenth of the run, then falls
    decay: float                         # of the weights, by AdamW
    moves: tuple[Any, ...]               # Moves of the training images


class Result(NamedTuple):
    config: Config
    accuracy: float                      # share of the held-out images that are right, after the last epoch
    curve: tuple[dict[str, Any], ...]    # for each epoch: epoch, loss, train_accuracy, accuracy
    seconds: float
    parameters: int
    trained: "Trained"
    resumed: bool
    files: dict[str, str]


class Trained(NamedTuple):
    config: Config
    p: Any
    running: Any                         # running statistics; None where the model has none


class Settings(NamedTuple):
    epochs: int
    batch: int
    rate: float
    decay: float
    moves: Moves


SETTINGS = {
    ("cnn", "digits"): Settings(12, 64, 8e-3, 0.01, Moves(shift=0.5)),
    ("vit", "digits"): Settings(30, 64, 6e-3, 0.05, Moves(shift=0.5)),
    ("stn", "digits"): Settings(12, 64, 2e-3, 0.01, Moves(shift=0.5)),
    ("cnn", "mnist5k"): Settings(6, 64, 8e-3, 0.01, Moves(shift=2)),
    ("vit", "mnist5k"): Settings(25, 64, 2e-3, 0.05, Moves(shift=2)),
    ("stn", "mnist5k"): Settings(12, 64, 2e-3, 0.01, Moves(shift=2)),
    ("cnn", "scattered"): Settings(20, 64, 8e-3, 0.01, SCATTER),
    ("vit", "scattered"): Settings(40, 64, 3e-3, 0.05, SCATTER),
    ("stn", "scattered"): Settings(30, 64, 8e-3, 0.01, SCATTER),
}


def configure(model: str = "cnn", data: str = "digits", gate: str = "none", seed: int = 0,
              epochs: int | None = None) -> Config:
    """The Config of these choices; ValueError for one that does not exist."""
    for name, value, choices in (("model", model, MODELS), ("data", data, DATA), ("gate", gate, GATES)):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    if gate != "none" and model != "cnn":
        raise ValueError(f"gate is for the model cnn, whose blocks it ends; {model} has none, got {gate!r}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0; got {seed}")
    if epochs is not None and epochs < 1:
        raise ValueError(f"epochs must be at least 1; got {epochs}")
    usual = SETTINGS[model, data]
    return Config(model, data, gate, seed, epochs or usual.epochs, *usual[1:4], tuple(usual.moves))


def train(model: str = "cnn", data: str = "digits", gate: str = "none", seed: int = 0, epochs: int | None = None, *,
          out: str | PathLike[str] | None = None,
          progress: Callable[[State, int], None] | None = None) -> Result:
    """Train, and keep weights, result and learning curve in the folder `out`, if one is given.

    A run that was interrupted left a checkpoint there, and the same call goes on from it.  Raises BadFile where the
    folder holds another run or a damaged file: nothing of theirs is overwritten.

    progress   called after every step with the state and the number of steps of an epoch
    """
    config = configure(model, data, gate, seed, epochs)
    folder = None if out is None else Path(out)
    images = load_data(config.data)
    state, resumed = first(config), False
    if folder is not None:
        need("safetensors.numpy"), need("matplotlib")                   # what is missing is said before any work
        folder.mkdir(parents=True, exist_ok=True)
        refuse_another(folder / WEIGHTS, config)
        if (folder / CHECKPOINT).exists():
            state, resumed = read_checkpoint(folder / CHECKPOINT, state, config), True
    steps = math.ceil(len(images.train.x) / config.batch)

    def save(state: State) -> None:
        write_checkpoint(folder / CHECKPOINT, state, config)            # type: ignore[operator]

    task = _loop.Task(
        config.epochs,
        lambda epoch: batches(config, images.train, epoch),
        lambda state, batch: step(config, steps, state, *batch),
        lambda state: close(config, images.test, state))
    state = _loop.run(state, task, None if folder is None else save,
                      None if progress is None else lambda state: progress(state, steps))
    trained = Trained(config, state.p, state.running)
    result = Result(config, state.curve[-1]["accuracy"], state.curve, round(state.seconds, 3),
                    _loop.parameters(state.p), trained, resumed, {})
    return result if folder is None else keep(result, folder)


def load_data(name: str) -> Data:
    """The images of a data set; for `scattered`, the digits as they are, for a canvas is drawn anew in each epoch,
    and the held-out ones on canvases that are always the same."""
    if name != "scattered":
        return getattr(data, name).load()
    digits = data.digits.load()
    test = Split(move(digits.test.x, SCATTER, np.random.default_rng(999)), digits.test.labels)
    return digits._replace(name=name, test=test)


def build(config: Config) -> Any:
    """Random weights from the seed, in float32."""
    rng = np.random.default_rng(config.seed)
    size = {"digits": 8, "mnist5k": 28, "scattered": CANVAS}[config.data]
    if config.model == "cnn":
        p = models.gated_resnet.init(rng, (16, 16, 32), O=10, gate=config.gate)
    elif config.model == "vit":
        D, M = (32, 64) if config.data == "digits" else (64, 128)
        p = models.vit.init(rng, size, patch_of(config), D, heads=4, L=2, O=10, M=M)
    else:
        p = models.spatial_transformer.init(rng, (size, size), (VIEW, VIEW), O=10)
    return tree.cast(p, np.float32)


def patch_of(config: Config) -> int:
    """A 4 × 4 or 5 × 5 grid of patches."""
    return {"digits": 2, "mnist5k": 7, "scattered": 4}[config.data]


def forward(trained: Trained, x: Any, training: bool = False, F: Any = ops) -> tuple[Any, Any]:
    """(scores (N, 10), the model's cache) of images (N, 1, H, W): what it says, and where it looked."""
    config, p, running = trained
    if config.model == "cnn":
        stride = 2 if config.data == "mnist5k" else 1
        return models.gated_resnet.forward(x, p, stride=stride, running=None if training else running, F=F)
    if config.model == "vit":
        return models.vit.forward(x, p, patch=patch_of(config), heads=4, F=F)
    return models.spatial_transformer.forward(x, p, size=(VIEW, VIEW), F=F)


def backward(trained: Trained, dy: Any, cache: Any) -> tuple[Any, Any]:
    """(dx, dp) of `forward`."""
    module = {"cnn": models.gated_resnet, "vit": models.vit, "stn": models.spatial_transformer}[trained.config.model]
    return module.backward(dy, cache)


def predict(trained: Trained | str | PathLike[str], x: Any, batch: int = 250) -> Any:
    """(N, 10) probabilities of images (N, 1, H, W) in [0, 1], by trained weights or the file of some."""
    trained = trained if isinstance(trained, Trained) else load(trained)
    x = np.asarray(x, np.float32)
    scores = [forward(trained, x[i:i + batch])[0] for i in range(0, max(len(x), 1), batch)]
    return softmax.forward(np.concatenate(scores))[0]


def first(config: Config) -> State:
    """The state before the first step."""
    p = build(config)
    zeros = tree.map(np.zeros_like, p)
    running = models.gated_resnet.start(p) if config.model == "cnn" else None
    return State(p, optim.Moments(np.array(0), zeros, zeros), running, 0, 0, (0.0, 0.0, 0.0), (), 0.0)


def batches(config: Config, train: Split, epoch: int) -> list[tuple[Any, Any]]:
    """[(images, labels)] of one epoch: shuffled and moved by random numbers of the seed and the epoch alone."""
    rng = np.random.default_rng([config.seed, epoch])
    order = rng.permutation(len(train.x))
    x, labels = move(train.x[order], Moves(*config.moves), rng), train.labels[order]
    return [(x[i:i + config.batch], labels[i:i + config.batch]) for i in range(0, len(x), config.batch)]


def step(config: Config, steps: int, state: State, x: Any, labels: Any) -> State:
    """One step of AdamW down the cross-entropy of a batch."""
    now = Trained(config, state.p, state.running)
    scores, cache = forward(now, x, training=True)
    loss, kept = cross_entropy.forward(scores, labels=labels)
    dscores, = cross_entropy.backward(np.ones_like(loss), kept)
    _, dp = backward(now, dscores, cache)
    dp, _ = optim.clip(dp, 1.0)
    total = config.epochs * steps
    rate = optim.cosine(state.epoch * steps + state.step, total, peak=config.rate, warmup=math.ceil(total / 10))
    p, moments = optim.adamw(state.p, dp, state.moments, lr=rate, decay=config.decay)
    running = None if state.running is None else models.gated_resnet.update(state.running, cache.stats)
    right = (scores.argmax(1) == labels).sum()
    sums = tuple(a + float(b) for a, b in zip(state.sums, (loss * len(x), right, len(x))))
    return state._replace(p=p, moments=moments, running=running, step=state.step + 1, sums=sums)


def close(config: Config, test: Split, state: State) -> State:
    """The end of an epoch: a point of the learning curve."""
    right = predict(Trained(config, state.p, state.running), test.x).argmax(1) == test.labels
    loss, hits, seen = state.sums
    point = {"epoch": state.epoch + 1, "loss": loss / seen, "train_accuracy": hits / seen,
             "accuracy": float(right.mean())}
    return state._replace(epoch=state.epoch + 1, step=0, sums=(0.0, 0.0, 0.0), curve=(*state.curve, point))


def arrays_of(state: State) -> dict[str, Any]:
    named = {**_files.named("p", state.p), **_files.named("moments", state.moments)}
    return named if state.running is None else {**named, **_files.named("running", state.running)}


def write_checkpoint(path: Path, state: State, config: Config) -> None:
    rest = {name: getattr(state, name) for name in ("epoch", "step", "sums", "curve", "seconds")}
    _files.write(path, arrays_of(state), {"kind": "checkpoint", "config": config._asdict(), **rest})


def read_checkpoint(path: Path, start: State, config: Config) -> State:
    arrays, record = _files.read(path)
    require_same(path, record, config)
    if record["kind"] != "checkpoint":
        raise BadFile(f"{path} is no checkpoint")
    running = None if start.running is None else _files.like("running", start.running, arrays, path)
    return State(_files.like("p", start.p, arrays, path), _files.like("moments", start.moments, arrays, path), running,
                 record["epoch"], record["step"], tuple(record["sums"]), tuple(record["curve"]), record["seconds"])


def refuse_another(path: Path, config: Config) -> None:
    """Weights that are there already may be replaced by those of the same run only."""
    if path.exists():
        require_same(path, _files.read(path)[1], config)


def require_same(path: Path, record: dict[str, Any], config: Config) -> None:
    theirs = record.get("config", {})
    ours = json.loads(json.dumps(config._asdict()))
    for name in Config._fields:
        if theirs.get(name) != ours[name]:
            raise BadFile(f"{path} is of another run ({name}: {theirs.get(name)!r} there, {ours[name]!r} here); "
                          "choose another folder, or remove it")


def keep(result: Result, folder: Path) -> Result:
    """Write weights, result and figure; then the checkpoint has done its work."""
    trained = result.trained
    arrays = _files.named("p", trained.p)
    if trained.running is not None:
        arrays |= _files.named("running", trained.running)
    record = {"kind": "weights", "config": trained.config._asdict(), "accuracy": result.accuracy,
              "curve": result.curve, "attribution": load_data(trained.config.data).attribution}
    _files.write(folder / WEIGHTS, arrays, record)
    result = result._replace(files={"weights": str(folder / WEIGHTS), "figure": str(folder / FIGURE),
                                    "result": str(folder / RESULT)})
    figure(result, folder / FIGURE)
    _atomic.write(folder / RESULT, (json.dumps(summary(result), indent=2) + "\n").encode())
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return result


def load(path: str | PathLike[str]) -> Trained:
    """The weights of a file that `train` wrote, ready for `forward` and `predict`."""
    path = Path(path)
    arrays, record = _files.read(path)
    if record.get("kind") not in ("weights", "checkpoint"):
        raise BadFile(f"{path} holds no weights")
    config = Config(**{**record["config"], "moves": tuple(record["config"]["moves"])})
    start = first(config)
    running = None if start.running is None else _files.like("running", start.running, arrays, path)
    return Trained(config, _files.like("p", start.p, arrays, path), running)


def summary(result: Result) -> dict[str, Any]:
    """The result as JSON has it, without the weights."""
    c = result.config
    return {"task": "classify", "model": c.model, "data": c.data, "gate": c.gate, "seed": c.seed, "epochs": c.epochs,
            "parameters": result.parameters, "accuracy": result.accuracy, "curve": list(result.curve),
            "seconds": result.seconds, "resumed": result.resumed, "files": result.files}


def figure(result: Result, path: Path | None = None) -> Any:
    """The learning curve: loss, and accuracy on training and held-out images, over the epochs."""
    from visattn import plot

    epochs = [point["epoch"] for point in result.curve]
    fig, (left, right) = plot.figure(1, 2, size=(7.6, 3.0))
    plot.curves(left, {"training": (epochs, [point["loss"] for point in result.curve])},
                x="epoch", y="cross-entropy", title="loss", log=True)
    plot.curves(right, {"training, moved": (epochs, [100 * point["train_accuracy"] for point in result.curve]),
                        "held out": (epochs, [100 * point["accuracy"] for point in result.curve])},
                x="epoch", y="accuracy in %", title=f"accuracy: {result.accuracy:.1%} of the held-out images")
    if path is not None:
        plot.save(fig, path)
    return fig


__all__ = ["Config", "Interrupted", "Result", "Trained", "backward", "configure", "figure", "forward", "load",
           "load_data", "predict", "summary", "train"]
