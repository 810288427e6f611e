"""`python -m minidl.explain` on small runs of its own: pictures, what they show, and what is refused."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minidl import Tensor, checkpoint, nn, ops
from minidl.data import ArrayDataset, draw, normalise
from minidl.explain import canvas, commands, curves, grad_cam, pictures
from minidl.explain.__main__ import main
from minidl.explain.runs import choose, open_run, read_table
from minidl.models import registry
from minidl.train.__main__ import main as train

CLASSES = [f"bars_{i}" for i in range(10)]


class Small(nn.Module):
    """Two stages of convolutions and a linear classifier."""

    def __init__(self, *, num_classes: int, rng: np.random.Generator, stride: int = 2) -> None:
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1, rng=rng), nn.ReLU())
        self.top = nn.Sequential(nn.Conv2d(6, 8, 3, stride=stride, padding=1, rng=rng), nn.ReLU())
        self.fc = nn.Linear(8, num_classes, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(ops.mean(self.top(self.stem(x)), axis=(2, 3)))


def fine(*, num_classes: int, rng: np.random.Generator) -> Small:
    """The same with maps of twice the resolution."""
    return Small(num_classes=num_classes, rng=rng, stride=1)


@pytest.fixture(scope="module")
def test_set() -> ArrayDataset:
    images, labels = draw(40, seed=1)
    return ArrayDataset(images, labels, class_names=CLASSES)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, test_set: ArrayDataset) -> Iterator[Path]:
    """Runs of one epoch: "plain" and "prior" of one network, "fine" of another, "other" with other classes."""
    few = ArrayDataset(*draw(32, seed=0), class_names=CLASSES)

    def create(name: str, *, split: str, **places: object) -> ArrayDataset:
        whole = few if split == "train" else test_set
        names = [f"other {i}" for i in range(10)] if name == "cifar10" else CLASSES
        return ArrayDataset(whole.images, whole.labels, class_names=names)

    where = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        for name, build in {"small": Small, "fine": fine}.items():
            patch.setitem(registry._MODELS, name, registry.ModelInfo(name, build, 32, ()))
        patch.setattr("minidl.train.images.create_dataset", create)
        patch.setattr("minidl.explain.runs.create_dataset", create)
        patch.setattr("minidl.train.record.draw_curves", lambda rows, title, path: None)
        runs = {"plain": ("small", "0"), "prior": ("small", "1"), "fine": ("fine", "0"), "other": ("small", "0")}
        for out, (model, seed) in runs.items():
            data = "cifar10" if out == "other" else "multiscale"
            flags = ["--data", data, "--model", model, "--seed", seed, "--batch-size", "16", "--epochs", "2"]
            assert train([*flags, "--threads", "1", "--augment", "none", "--out", out]) == 0
        yield where


@pytest.fixture(autouse=True)
def fresh(folder: Path) -> Iterator[None]:
    """No picture before a test, and none after."""
    yield
    for path in folder.rglob("*.png"):
        path.unlink()


def shape(path: str) -> tuple[int, ...]:
    """Of a PNG's pixels; it is one, and not of one colour."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.std() > 5
    return pixels.shape


@pytest.fixture
def grids(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The arguments of `draw_grid`, in place of what it draws."""
    seen: list[tuple] = []
    monkeypatch.setattr(commands, "draw_grid", lambda *arguments: seen.append(arguments))
    return seen


# Figures


def test_the_figure_in_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figure", "plain", "prior", "--rows", "2"]) == 0
    assert len(shape("figure.png")) == 3
    said = capsys.readouterr().out
    assert "Grad-CAM at top for the predicted class" in said
    assert "plain (small), maps of 8×8: " in said
    assert said.endswith("written: figure.png\n")
    first = Path("figure.png").read_bytes()
    assert main(["figure", "plain", "prior/last.safetensors", "--rows", "2", "--out", "again.png"]) == 0
    assert Path("again.png").read_bytes() == first


def test_the_figure_shows_what_the_networks_make_of_the_images(grids, test_set) -> None:
    assert main(["figure", "plain", "prior", "--index", "31,4,7"]) == 0
    columns, rows, note, path = grids[0]
    assert columns == ["input", "baseline\nsmall", "with the prior\nsmall"]
    assert path == "figure.png"
    assert "test images by number" in note
    picked = [31, 4, 7]
    x = normalise(test_set.images[picked], test_set.mean, test_set.std)
    for j, name in enumerate(["plain", "prior"], start=1):
        run = open_run(name)
        cam, z = grad_cam(run.model, x), run.model(Tensor(x)).data
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        for i, row in enumerate(rows):
            c, label = int(z[i].argmax()), test_set.labels[picked[i]]
            mark = "✓" if c == label else "✗"
            assert row[0].text == f"bars {label} (no. {picked[i]})"
            assert row[0].heat is None
            assert row[j].text == f"bars {c} {100 * p[i, c]:.0f} % {mark}"
            np.testing.assert_array_equal(row[j].image, test_set.images[picked[i]])
            np.testing.assert_array_equal(row[j].heat, cam.heat[i])


def test_networks_whose_maps_differ_in_resolution_are_told_apart(grids, capsys) -> None:
    assert main(["figure", "plain", "fine", "--rows", "1"]) == 0
    assert "the maps differ in resolution" in capsys.readouterr().out
    assert main(["figure", "plain", "fine", "--rows", "1", "--layer", "stem.0"]) == 0
    assert "maps of 16×16" in capsys.readouterr().out
    assert "at stem.0 " in grids[1][2]


def test_a_class_can_be_asked_for(grids, test_set) -> None:
    assert main(["gradcam", "plain", "--target", "bars 3", "--rows", "10"]) == 0
    assert main(["gradcam", "plain", "--target", "true", "--rows", "10"]) == 0
    run = open_run("plain")
    picked = choose(test_set.labels, 10)
    x = normalise(test_set.images[picked], test_set.mean, test_set.std)
    for grid, target in zip(grids, (3, test_set.labels[picked]), strict=True):
        cam = grad_cam(run.model, x, target=target)
        for i, (_, panel) in enumerate(grid[1]):
            np.testing.assert_array_equal(panel.heat, cam.heat[i])
            assert ("\nshown: " in panel.text) == (cam.target[i] != cam.predicted[i])


def test_files_of_ones_own(grids, test_set) -> None:
    big = np.kron(test_set.images[3].transpose(1, 2, 0), np.ones((4, 2, 1), np.uint8))
    Image.fromarray(big).save("mine.bmp")
    assert main(["gradcam", "plain", "--images", "mine.bmp", "mine.bmp"]) == 0
    (panel, cam), _ = grids[0][1]
    assert panel.text == "mine.bmp"
    assert panel.image.shape == (3, 32, 32)
    assert cam.text[-1] == "%"  # nobody knows whether it is right


def test_images_are_chosen_by_class_alone() -> None:
    labels = np.array([0] * 50 + [1] * 5 + [2])
    for seed in range(5):
        picked = choose(labels, 8, seed)
        assert len(set(picked.tolist())) == 8
        assert sorted(labels[picked[:3]].tolist()) == [0, 1, 2]
        assert np.bincount(labels[picked]).tolist() in ([4, 3, 1], [3, 4, 1])
        np.testing.assert_array_equal(picked, choose(labels, 8, seed))
    assert not np.array_equal(choose(labels, 8, 0), choose(labels, 8, 1))


def test_receptive_fields_of_runs(capsys) -> None:
    assert main(["receptive-field", "plain", "fine", "--count", "8", "--size", "24"]) == 0
    assert shape("receptive-field.png")[1] > shape("receptive-field.png")[0]
    said = capsys.readouterr().out
    assert "plain: small\nlayer   kernel" in said
    assert "all paths: support 7, width 1.83 pixels" in said
    assert "measured at top: width" in said
    assert "cut at the border" not in said
    assert (
        main(["receptive-field", "plain", "--inputs", "test", "--count", "5", "--layer", "stem", "--power", "1"]) == 0
    )
    assert "5 test images" in capsys.readouterr().out
    assert main(["receptive-field", "plain", "--size", "8", "--count", "2"]) == 0
    assert "cut at the border: six predicted widths are 11 pixels, the images 8×8" in capsys.readouterr().out


def test_learning_curves_of_runs(capsys) -> None:
    assert main(["curves", "plain", "prior/best.safetensors", "fine"]) == 0
    shape("curves.png")
    with open("plain/metrics.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert f"plain: test accuracy {float(last['test_accuracy']):.2%} after 2 epochs" in capsys.readouterr().out


def test_sigma_over_training(capsys) -> None:
    for name, layers in (("plain", 3), ("fine", 14)):
        rows = [["epoch", *(f"layer{i}.conv" for i in range(layers))]]
        rows += [[e, *(0.5 + 0.01 * e * i for i in range(layers))] for e in range(4)]
        Path(name, "sigma.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    assert main(["sigma", "plain", "fine", "--line", "0.7"]) == 0
    shape("sigma.png")
    said = capsys.readouterr().out
    assert "plain: σ at epoch 0 → 3\n  layer0.conv  0.500 → 0.500\n  layer1.conv  0.500 → 0.530" in said


def widths(*layers: str) -> dict[str, np.ndarray]:
    return {"epoch": np.arange(9.0), **{name: np.full(9, 0.5 + 0.1 * i) for i, name in enumerate(layers)}}


@pytest.mark.parametrize(
    "draw_it",
    [
        lambda: main(["figure", "plain", "prior", "--rows", "3", "--target", "bars 3"]),
        lambda: main(["gradcam", "plain", "--rows", "1"]),
        lambda: main(["receptive-field", "plain", "fine", "--count", "2"]),
        lambda: main(["curves", "plain", "prior", "fine", "other"]),
        lambda: curves.draw_sigma([("a $run$", widths("a.very.long.name.of.a.layer"))], "x"),
        lambda: curves.draw_sigma([("run", widths(*(f"layer{i}" for i in range(20))))] * 2, "x"),
    ],
)
def test_no_word_is_cut_off(monkeypatch, draw_it: Callable[[], object]) -> None:
    figures = []
    for module in (pictures, curves):
        monkeypatch.setattr(module, "write_png", lambda figure, path: figures.append(figure))
    draw_it()
    from matplotlib.text import Text

    figure = figures[0]
    figure.canvas.draw()
    shown = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    axes_off = [t for axes in figure.axes if not axes.axison for a in (axes.xaxis, axes.yaxis) for t in a.findobj(Text)]
    assert len(shown) > 3
    for text in shown:
        box = text.get_window_extent()
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside or text in axes_off or _beyond(text, figure), text.get_text()


def _beyond(text, figure) -> bool:
    """Whether a text is a tick's outside of its axes' limits, which matplotlib keeps but does not draw."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if text in (tick.label1, tick.label2):
                    return not low <= tick.get_loc() <= high
    return False


def test_lightness_and_literal_names() -> None:
    white, red = np.full((3, 2, 2), 255, np.uint8), np.zeros((3, 2, 2), np.uint8)
    red[0] = 255
    np.testing.assert_allclose(pictures.grey(white), 1)
    np.testing.assert_allclose(pictures.grey(red), 0.299)
    figure = canvas.new_figure(2, 2)
    assert not canvas.literal(figure.suptitle("$x$")).get_parse_math()


# Mistakes


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("paint plain", "COMMAND invalid choice: 'paint'"),
        ("figure plain", "the following arguments are required: PRIOR"),
        ("figure plain prior --rows 0", "--rows must be an integer from 1 to 999999999, got '0'"),
        ("figure plain prior --rows 41", "--rows must be at most 40, the number of test images, got 41"),
        ("figure plain prior --index 3,x", "--index must be whole numbers joined by commas, got '3,x'"),
        ("figure plain prior --index 3,40", "--index must be within 0 and 39, got 40"),
        ("figure plain prior --rows 2 --index 3", "--index not allowed with argument --rows"),
        ("figure plain prior --out a.pdf", "--out must end in .png, got 'a.pdf'"),
        ("figure plain nowhere", "nowhere: there is no such file"),
        ("figure plain other", "trained on different classes"),
        ("figure plain .", ".: is no run's folder, it has no last.safetensors"),
        ("figure plain plain/config.toml", "plain/config.toml: is truncated or no safetensors file"),
        ("figure plain prior --layer layer4", "plain/last.safetensors: get_submodule: Small has no submodule 'layer4'"),
        ("gradcam plain --layer fc", "plain/last.safetensors: grad_cam: layer 'fc' must give maps (N, C, h, w)"),
        ("gradcam plain --target zebra", "--target must be predicted, true, or one of bars_0, bars_1"),
        ("gradcam plain --images nothing.png", "nothing.png: No such file or directory"),
        ("gradcam plain --images plain/config.toml", "plain/config.toml: damaged, or not an image"),
        ("gradcam plain --target true --images picture.bmp", "--target true: the class of a given file is not known"),
        ("gradcam plain --data cifar10", "cifar10: has other classes than those that plain/last.safetensors"),
        ("gradcam bare.safetensors", "is no minidl checkpoint; it holds bare arrays"),
        ("gradcam strange.safetensors", "strange.safetensors: is no checkpoint of a training run"),
        ("gradcam nameless.safetensors", "nameless.safetensors: does not say what its classes are"),
        ("gradcam plain --out plain/config.toml/a.png", "cannot write plain/config.toml/a.png"),
        ("receptive-field plain --size 9 --inputs test", "--size is for random images"),
        ("receptive-field plain --layer fc", "plain/last.safetensors: receptive_field: layer 'fc' must give maps"),
        ("receptive-field plain --power 3", "--power invalid choice: 3"),
        ("receptive-field", "the following arguments are required: RUN"),
        ("sigma prior", "prior: there is no sigma.csv: the run has no layer with a learned σ"),
        ("sigma nowhere", "nowhere: there is no sigma.csv"),
        ("sigma prior --line -1", "--line must be a number > 0, got '-1'"),
        ("sigma damaged", "sigma.csv: epoch must be a number from 0 to 4294967295, got [nan]"),
        ("sigma short", "short: its sigma.csv has no column of a layer"),
        ("sigma huge", "huge: σ of lr must be at most 1e+09 in sigma.csv"),
        ("curves huge", "huge: its metrics.csv has no number in its column test_accuracy"),
        (f"curves {'a' * 5000}", ": File name too long"),
        ("curves damaged", "metrics.csv: is damaged, or no table of numbers"),
        ("curves short", "short: its metrics.csv has no column train_loss"),
    ],
)
def test_mistakes_take_one_line(command: str, message: str, capsys, folder: Path) -> None:
    checkpoint.save("strange.safetensors", {}, {"format": "another"})
    arrays, meta = checkpoint.load("plain/last.safetensors")
    checkpoint.save("nameless.safetensors", arrays, {**meta, "classes": [1, 2]})
    from safetensors.numpy import save_file

    save_file({"a": np.ones(2)}, "bare.safetensors")
    Image.new("RGB", (40, 40), "red").save("picture.bmp")
    for name, text in {"damaged": "epoch,lr\n1,x\n", "short": "epoch,lr\n1,0.1\n"}.items():
        Path(name).mkdir(exist_ok=True)
        Path(name, "metrics.csv").write_text(text)
    metrics = "epoch,train_loss,test_loss,train_accuracy,test_accuracy\n1,1,1,1,\n"
    Path("huge").mkdir(exist_ok=True)
    Path("huge", "metrics.csv").write_text(metrics)
    for name, text in {"damaged": "epoch,lr\nnan,1\n", "short": "epoch\n1\n", "huge": "epoch,lr\n1,1e308\n"}.items():
        Path(name, "sigma.csv").write_text(text)
    assert main(command.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("minidl.explain: error: ")
    assert message in said.err
    assert not list(folder.rglob("*.png"))


@pytest.mark.parametrize("text", ["", "epoch,a\n", "a,b\n1,2\n", "epoch,a\n1\n", "epoch,a\n1,\xff\n"])
def test_damaged_tables_are_refused(tmp_path: Path, text: str) -> None:
    from minidl.errors import UserError

    file = tmp_path / "metrics.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"metrics\.csv: (is damaged|has no epoch)"):
        read_table(file)


def test_gaps_in_a_table_are_nan(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("epoch,a\n1,0.5\n2,\n")
    np.testing.assert_array_equal(read_table(tmp_path / "t.csv")["a"], [0.5, np.nan])


def test_help_and_the_program_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "minidl.explain", "--help"], capture_output=True, text=True, check=True
    )
    for name in commands.COMMANDS:
        assert name in done.stdout
    done = subprocess.run([sys.executable, "-m", "minidl.explain", "sigma", "x"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
