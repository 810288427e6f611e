"""Long-tailed training: which images, how often, which loss, and what is reported."""

from __future__ import annotations

import numpy as np
import pytest
from train_helpers import assert_same_run, error_line, press_ctrl_c, rows, train

from minidl import Tensor
from minidl.data import class_counts
from minidl.errors import ConfigError
from minidl.train.__main__ import main
from minidl.train.build import Training, build
from minidl.train.cli import parse
from minidl.train.recipes import resolve

SIZES = [4, 3, 2, 2, 2, 1, 1, 1, 1, 1]  # the smallest class of the whole set has 4 images
TAIL = ["--imbalance", "4", "--many-shot", "2", "--few-shot", "2", "--batch-size", "8"]


def built(*flags: str) -> Training:
    return build(resolve(parse(["--model", "noisy", "--batch-size", "16", *flags]).given))


def log_softmax(z: np.ndarray) -> np.ndarray:
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def test_classes_become_imbalanced_and_the_seed_says_which_images_stay() -> None:
    first, again, other = (built("--imbalance", "4", "--seed", seed).train_set for seed in "001")
    np.testing.assert_array_equal(class_counts(first), SIZES)
    np.testing.assert_array_equal(class_counts(first), class_counts(other))
    everything = np.arange(len(first))
    np.testing.assert_array_equal(first.batch(everything)[0], again.batch(everything)[0])
    assert (first.batch(everything)[0] != other.batch(everything)[0]).any()


def test_the_test_images_stay_as_they_are() -> None:
    assert len(built(*TAIL).test_set) == len(built().test_set) == 40


def test_accuracy_is_reported_by_shots(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(*TAIL) == 0
    images = {"many": 10, "medium": 13, "few": 17}  # in the test
    table = rows("run")
    assert list(table[0])[-3:] == [f"test_accuracy_{name}" for name in images]
    for row in table:
        mean = sum(count * float(row[f"test_accuracy_{name}"]) for name, count in images.items()) / 40
        assert float(row["test_accuracy"]) == pytest.approx(mean, abs=1e-12)
    out = capsys.readouterr().out
    assert "classes of 4 to 1 training images: 2 many-shot (> 2), 3 medium-shot, 5 few-shot (< 2)" in out
    few = float(table[-1]["test_accuracy_few"])
    assert f", few {few:.2%}\n" in out


def test_groups_without_classes_are_not_reported() -> None:
    assert built().shots == {}
    assert list(built("--imbalance", "2").shots) == ["few"]  # asked for: shown, although there is but one group
    assert list(built("--many-shot", "9", "--few-shot", "3").shots) == ["many", "medium"]  # a set that is uneven itself


def test_class_aware_sampling_shows_classes_equally_often() -> None:
    def seen(*flags: str) -> np.ndarray:
        loader = built(*TAIL, *flags, "--samples-per-class", "2").train_loader
        labels = [labels for epoch in range(100) for _, labels in loader.epoch(epoch)]
        return np.bincount(np.concatenate(labels), minlength=10)

    natural, balanced = seen(), seen("--sampling", "class_aware")
    assert natural[0] > 3 * natural[-1]
    assert balanced.max() < 1.25 * balanced.min()
    assert natural.sum() == balanced.sum()  # epochs of the same length


def test_logit_adjustment_changes_the_loss_of_training_alone() -> None:
    run = built(*TAIL, "--loss", "logit_adjusted", "--tau", "0.5", "--label-smoothing", "0")
    z = np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32)
    labels = np.array([0, 9, 3, 3, 7, 1])
    frequency = class_counts(run.train_set) / len(run.train_set)
    adjusted, plain = (-log_softmax(logits)[np.arange(6), labels].mean() for logits in (z + 0.5 * np.log(frequency), z))
    assert run.loss(Tensor(z), labels).item() == pytest.approx(adjusted, rel=1e-5)
    assert run.test_loss(Tensor(z), labels).item() == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("flags", [("--sampling", "class_aware"), ("--loss", "logit_adjusted")])
def test_it_stops_and_goes_on_without_a_trace(at_step, flags: tuple[str, ...]) -> None:
    flags = (*TAIL, *flags)
    train(*flags, out="whole")
    at_step(3, press_ctrl_c)
    assert train(*flags, out="cut") == 130
    assert main(["--resume", "cut"]) == 0
    assert_same_run("whole", "cut")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": "logit_adjusted", "sampling": "class_aware"}, "both balance the classes; choose one"),
        ({"few_shot": 101}, "--few-shot must be at most --many-shot, 100, got 101"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(given)


def test_a_class_without_images_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--imbalance", "2", "--limit-train", "10", "--batch-size", "2") == 2
    assert error_line(capsys).startswith("--imbalance: long_tailed: every class must have an image, class ")


def test_too_much_imbalance_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--imbalance", "0.5") == 2
    assert error_line(capsys) == "--imbalance must be a finite number >= 1, got 0.5"
