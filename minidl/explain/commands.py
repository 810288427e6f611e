"""What the commands do, from runs to pictures; each returns the lines to print."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from minidl.data import Dataset, normalise
from minidl.errors import ConfigError, DataError
from minidl.explain.curves import draw_fields, draw_learning, draw_sigma
from minidl.explain.field import receptive_field
from minidl.explain.gradcam import GradCam, grad_cam
from minidl.explain.names import readable
from minidl.explain.pictures import Panel, draw_grid, verdict
from minidl.explain.predict import predict
from minidl.explain.runs import SIGMA, Run, choose, open_run, picture_files, table_of
from minidl.train.record import METRICS

DIRECTIONS, IMAGES = 0, 1  # streams of random numbers
LARGEST = 1e9  # σ that a plot still has a scale for; the epochs are below it, too
COARSE = 4  # pixels of a map's side, below which it says little of where


@dataclass(frozen=True)
class Chosen:
    """The images of a figure.

    Attributes:
        images: uint8 (n, 3, H, W).
        labels: (n,), or None for pictures whose class is not known.
        x: normalised as the network expects them.
        names: what is written above each.
        origin: in words.
    """

    images: np.ndarray
    labels: np.ndarray | None
    x: np.ndarray
    names: list[str]
    origin: str


def figure(args: argparse.Namespace) -> list[str]:
    """input | baseline | with the prior."""
    baseline, prior = open_run(args.baseline), open_run(args.prior)
    dataset = _same_images(baseline, prior, args)
    return _cams([baseline, prior], ["baseline", "with the prior"], dataset, args)


def gradcam(args: argparse.Namespace) -> list[str]:
    """input | Grad-CAM."""
    run = open_run(args.run)
    return _cams([run], [run.name], run.test_images(args.data, args.data_dir), args)


def receptive_fields(args: argparse.Namespace) -> list[str]:
    """Measured and predicted fields of one or more runs."""
    found, lines = [], []
    if args.size and args.inputs == "test":
        raise ConfigError("--size is for random images; test images have the size they were trained with")
    for path in args.runs:
        run = open_run(path)
        x = _inputs(run, args)
        rng = np.random.default_rng([args.seed, DIRECTIONS])
        with asked_of(run):
            measured = receptive_field(run.model, x, layer=args.layer, power=args.power, rng=rng)
            predicted = predict(run.model, x.shape[1:], layer=args.layer, power=args.power)
        found.append((run.name, measured, predicted))
        lines += [f"{run.name}: {run.title}", str(predicted)]
        lines.append(
            f"measured at {measured.layer}: width {measured.std[0]:.2f}×{measured.std[1]:.2f} pixels, "
            f"area {measured.area} pixels, {len(x)} {args.inputs} images"
        )
        if 6 * max(predicted.std) > min(x.shape[2:]):
            lines.append(
                f"cut at the border: six predicted widths are {6 * max(predicted.std):.0f} pixels, the images "
                f"{x.shape[2]}×{x.shape[3]}; a larger --size measures the whole field"
            )
    draw_fields(found, args.out)
    return lines


def sigma(args: argparse.Namespace) -> list[str]:
    """σ over training."""
    tables = [table_of(path, SIGMA) for path in args.runs]
    for name, table in tables:
        if len(table) == 1:
            raise DataError(f"{name}: its {SIGMA} has no column of a layer")
        if too_large := [layer for layer, s in table.items() if (np.abs(s) > LARGEST).any()]:
            raise DataError(f"{name}: σ of {too_large[0]} must be at most {LARGEST:g} in {SIGMA}")
    draw_sigma(tables, args.out, args.line)
    lines = []
    for name, table in tables:
        lines.append(f"{name}: σ at epoch {table['epoch'][0]:.0f} → {table['epoch'][-1]:.0f}")
        lines += [f"  {layer}  {s[0]:.3f} → {s[-1]:.3f}" for layer, s in table.items() if layer != "epoch"]
    return lines


def curves(args: argparse.Namespace) -> list[str]:
    """Loss and accuracy over training."""
    tables = [table_of(path, METRICS) for path in args.runs]
    for name, table in tables:
        for column in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
            if column not in table:
                raise DataError(f"{name}: its {METRICS} has no column {column}")
        if np.isnan(table["test_accuracy"]).all():
            raise DataError(f"{name}: its {METRICS} has no number in its column test_accuracy")
    draw_learning(tables, args.out)
    return [
        f"{name}: test accuracy {table['test_accuracy'][-1]:.2%} after {table['epoch'][-1]:.0f} epochs, "
        f"best {np.nanmax(table['test_accuracy']):.2%}"
        for name, table in tables
    ]


def _same_images(baseline: Run, prior: Run, args: argparse.Namespace) -> Dataset:
    """The test images of both runs.

    Raises:
        DataError: they were trained on other classes or sizes.
    """
    if baseline.class_names != prior.class_names:
        raise DataError(f"{baseline.path} and {prior.path} were trained on different classes")
    if baseline.config.image_size != prior.config.image_size:
        sizes = f"{baseline.config.image_size} and {prior.config.image_size}"
        raise DataError(f"{baseline.path} and {prior.path} were trained on images of different sizes, {sizes} pixels")
    return baseline.test_images(args.data, args.data_dir)


def _cams(runs: list[Run], titles: list[str], dataset: Dataset, args: argparse.Namespace) -> list[str]:
    chosen = _choice(dataset, args)
    target = _target(dataset, chosen, args.target)
    cams = []
    for run in runs:
        with asked_of(run):
            cams.append(grad_cam(run.model, chosen.x, target=target, layer=args.layer))
    names = [readable(name) for name in dataset.class_names]
    rows = [
        [Panel(chosen.images[i], chosen.names[i]), *(_panel(cam, chosen, i, names) for cam in cams)]
        for i in range(len(chosen.images))
    ]
    what = args.target if args.target in ("predicted", "true") else repr(args.target)
    layers = " and ".join(dict.fromkeys(cam.layer for cam in cams))
    note = f"Grad-CAM at {layers} for the {what} class, relative to the map's maximum; images: {chosen.origin}"
    parts = ["\n".join([title, *run.title.split(", ")]) for title, run in zip(titles, runs, strict=True)]
    draw_grid(["input", *parts], rows, note, args.out)
    lines = [note]
    for run, cam in zip(runs, cams, strict=True):
        said = ", ".join(_said(cam, chosen, i, names) for i in range(len(chosen.images)))
        lines.append(f"{run.name} ({run.title}), maps of {cam.maps.shape[1]}×{cam.maps.shape[2]}: {said}")
    if min(cams[0].maps.shape[1:]) < COARSE and not args.layer:
        lines.append(f"{cams[0].layer} gives coarse maps here; --layer may name one before it")
    if len({cam.maps.shape for cam in cams}) > 1:
        lines.append("the maps differ in resolution, which shows; --layer may name a layer where they do not")
    return lines


def _panel(cam: GradCam, chosen: Chosen, i: int, names: list[str]) -> Panel:
    text = _said(cam, chosen, i, names)
    if cam.target[i] != cam.predicted[i]:
        c = cam.target[i]
        text += f"\nshown: {verdict(names[c], cam.probabilities[i, c], None)}"
    return Panel(chosen.images[i], text, cam.heat[i])


def _said(cam: GradCam, chosen: Chosen, i: int, names: list[str]) -> str:
    c = int(cam.predicted[i])
    correct = None if chosen.labels is None else c == chosen.labels[i]
    return verdict(names[c], float(cam.probabilities[i, c]), correct)


def _choice(dataset: Dataset, args: argparse.Namespace) -> Chosen:
    """The images that the command line asks for."""
    labels: np.ndarray | None
    if args.images:
        images, labels = picture_files(args.images, dataset.image_shape[1]), None
        names, origin = [_file_name(path) for path in args.images], "given files"
    else:
        if args.index:
            picked = np.array(args.index)
            if picked.max() >= len(dataset):
                raise ConfigError(f"--index must be within 0 and {len(dataset) - 1}, got {picked.max()}")
            origin = "test images by number"
        else:
            picked = choose(dataset.labels, args.rows, args.seed)
            origin = f"test images drawn by class alone, seed {args.seed}"
        images, labels = dataset.batch(picked)
        names = [f"{readable(dataset.class_names[c])} (no. {i})" for c, i in zip(labels, picked, strict=True)]
    return Chosen(images, labels, normalise(images, dataset.mean, dataset.std), names, origin)


def _file_name(path: str) -> str:
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return name if len(name) <= 28 else f"{name[:12]}…{name[-15:]}"


def _target(dataset: Dataset, chosen: Chosen, said: str) -> np.ndarray | int | None:
    """The class to explain: None for the predicted one."""
    if said == "predicted":
        return None
    if said == "true":
        if chosen.labels is None:
            raise ConfigError("--target true: the class of a given file is not known")
        return chosen.labels
    for names in (dataset.class_names, tuple(readable(name) for name in dataset.class_names)):
        if said in names:
            return names.index(said)
    raise ConfigError(f"--target must be predicted, true, or one of {', '.join(dataset.class_names)}, got {said!r}")


def _inputs(run: Run, args: argparse.Namespace) -> np.ndarray:
    """Normalised test images, or random ones, float32 (n, 3, H, W)."""
    if args.inputs == "test" or not args.size:
        dataset = run.test_images(args.data, args.data_dir)
        if args.inputs == "test":
            images, _ = dataset.batch(choose(dataset.labels, min(args.count, len(dataset)), args.seed))
            return normalise(images, dataset.mean, dataset.std)
    side = args.size or dataset.image_shape[1]
    rng = np.random.default_rng([args.seed, IMAGES])
    return rng.standard_normal((args.count, 3, side, side), np.float32)


@contextmanager
def asked_of(run: Run) -> Iterator[None]:
    """What is refused inside, a layer or a size, was asked for on the command line."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{run.path}: {error}") from error


COMMANDS: dict[str, Callable[[argparse.Namespace], list[str]]] = {
    "figure": figure,
    "gradcam": gradcam,
    "receptive-field": receptive_fields,
    "sigma": sigma,
    "curves": curves,
}
