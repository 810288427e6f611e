"""The second stage: a new classifier on features of which no bit changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from train_helpers import STEPS, Noisy, assert_same_run, error_line, press_ctrl_c, rows, train

from minidl import Tensor, checkpoint, nn
from minidl.models import create_model, model_names
from minidl.nn import init
from minidl.priors import convert
from minidl.train import loop, stages
from minidl.train.__main__ import main
from minidl.train.build import build, network
from minidl.train.cli import parse
from minidl.train.recipes import resolve
from minidl.train.record import LAST
from minidl.train.state import restore_model

TWO = ["--epochs", "2", "--stage2-epochs", "2"]


def arrays(folder: str) -> dict[str, np.ndarray]:
    return checkpoint.load(Path(folder, LAST))[0]


def test_features_stay_bit_for_bit_and_the_classifier_is_new() -> None:
    assert train("--epochs", "2", out="one") == train(*TWO, out="two") == 0
    one, two = arrays("one"), arrays("two")
    features = [name for name in one if name.startswith(("conv.", "bn."))]
    assert {"bn.running_mean", "bn.running_var", "conv.weight"} < set(features)
    for name in features:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name, strict=True)
    assert "fc.bias" in one and "fc.bias" not in two
    assert (one["fc.weight"] != two["fc.weight"]).mean() > 0.99
    assert {name for name in two if name.startswith("optimizer.")} == {"optimizer.velocity.weight"}


def test_the_record_tells_the_stages_apart(capsys: pytest.CaptureFixture[str]) -> None:
    train(*TWO, "--sched", "constant", "--stage2-lr", "0.2")
    table = rows("run")
    assert [(row["epoch"], row["stage"], row["lr"]) for row in table] == [
        ("1", "1", "0.05"),
        ("2", "1", "0.05"),
        ("3", "2", "0.2"),
        ("4", "2", "0.2"),
    ]
    out = capsys.readouterr().out
    assert "then 2 epochs of a new classifier, lr 0.2" in out
    assert "second stage: a new classifier, class-aware; features frozen, in evaluation mode" in out
    assert f"first stage     {float(table[1]['test_accuracy']):.2%}" in out


def test_each_stage_has_its_own_course_of_the_learning_rate() -> None:
    run = build(resolve(parse([*TWO, "--sched", "cosine", "--stage2-lr", "0.2"]).given))
    run.position.epoch = 2
    stages.advance(run)
    assert run.schedule(run.steps_done) == pytest.approx(0.2)
    assert run.schedule(run.steps_done + run.steps_per_epoch) == pytest.approx(0.1)


def test_the_second_stage_is_class_aware_and_not_adjusted_for_frequencies() -> None:
    flags = ["--imbalance", "4", "--loss", "logit_adjusted", "--label-smoothing", "0", "--batch-size", "8"]
    run = build(resolve(parse([*TWO, *flags, "--samples-per-class", "1"]).given))
    z, labels = Tensor(np.zeros((2, 10), np.float32)), np.array([9, 9])
    assert run.loss(z, labels).item() == pytest.approx(np.log(18), rel=1e-6)  # one image of 18
    run.position.epoch = 2
    stages.advance(run)
    assert run.loss(z, labels).item() == pytest.approx(np.log(10), rel=1e-6)
    seen = np.concatenate([labels for epoch in range(100) for _, labels in run.train_loader.epoch(epoch)])
    counts = np.bincount(seen)
    assert counts.max() < 1.25 * counts.min()


def test_nothing_is_recorded_for_frozen_features(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    forward = Noisy.forward

    def watched(self: Noisy, x: Tensor) -> Tensor:
        z = forward(self, x)
        modes.append((self.bn.training, self.fc.training, z.requires_grad, self.bn(self.conv(x)).requires_grad))
        return z

    monkeypatch.setattr(Noisy, "forward", watched)
    run = build(resolve(parse(["--model", "noisy", "--batch-size", "16", *TWO]).given))
    run.position.epoch = 2
    stages.advance(run)
    modes.clear()
    loop.train_epoch(run)
    assert modes == [(False, True, True, False)] * STEPS


@pytest.mark.parametrize("step", [2, 2 * STEPS, 2 * STEPS + 1, 3 * STEPS, 4 * STEPS])
def test_a_resumed_run_equals_one_never_interrupted(at_step, step: int) -> None:
    train(*TWO, out="whole")
    at_step(step, press_ctrl_c)
    assert train(*TWO, out="cut") == 130
    assert main(["--resume", "cut"]) == 0
    assert_same_run("whole", "cut")


@pytest.mark.parametrize("flags", [("--opt", "adamw"), ("--classifier", "statrot")])
def test_so_it_does_whatever_is_trained(at_step, flags: tuple[str, ...]) -> None:
    flags = ("--epochs", "1", "--stage2-epochs", "1", "--imbalance", "4", "--batch-size", "8", *flags)
    train(*flags, out="whole")
    at_step(3, press_ctrl_c)  # the first of the second stage
    assert train(*flags, out="cut") == 130
    assert checkpoint.load(Path("cut", LAST))[1]["position"]["stage"] == 2
    assert main(["--resume", "cut"]) == 0
    assert_same_run("whole", "cut")


def test_the_test_between_the_stages_may_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    train(*TWO, out="whole")
    evaluate = loop.evaluate

    def evaluated(run, hooks):
        if run.position.epoch == 1:
            press_ctrl_c()
        return evaluate(run, hooks)

    monkeypatch.setattr(loop, "evaluate", evaluated)
    assert train(*TWO, out="cut") == 130
    monkeypatch.setattr(loop, "evaluate", evaluate)
    assert main(["--resume", "cut"]) == 0
    assert_same_run("whole", "cut")


def test_a_finished_run_may_get_a_second_stage() -> None:
    train(*TWO, out="whole")
    train("--epochs", "2", out="one")
    assert main(["--resume", "one", "--stage2-epochs", "2", "--out", "two"]) == 0
    whole, two = arrays("whole"), arrays("two")
    for name in whole.keys() | two.keys():
        np.testing.assert_array_equal(whole[name], two[name], err_msg=name, strict=True)
    assert [row["stage"] for row in rows("two")] == ["", "", "2", "2"]


def test_what_can_change_on_the_way(at_step, capsys: pytest.CaptureFixture[str]) -> None:
    train(*TWO)
    capsys.readouterr()
    assert main(["--resume", "run"]) == 2
    assert error_line(capsys).endswith("has finished its 4 epochs; add --stage2-epochs 4 to train on")
    assert main(["--resume", "run", "--epochs", "3"]) == 2
    assert "was trained with 2, which cannot change" in error_line(capsys)
    assert main(["--resume", "run", "--stage2-epochs", "0"]) == 2
    assert "has finished its 4 epochs" in error_line(capsys)
    assert main(["--resume", "run", "--stage2-epochs", "3"]) == 0
    assert len(rows("run")) == 5
    at_step(STEPS + 1, press_ctrl_c)
    assert train(*TWO, out="cut") == 130
    capsys.readouterr()
    assert main(["--resume", "cut", "--epochs", "1"]) == 2
    assert error_line(capsys) == "--epochs must be at least 2, got 1: cut/last.safetensors has come that far"


@pytest.mark.parametrize("change", [{"stage": 3}, {"stage": -1}, {"stage": "2"}, {"stage": True}, {"stage": None}])
def test_a_damaged_stage_is_refused(change: dict, capsys: pytest.CaptureFixture[str]) -> None:
    train("--epochs", "1")
    contents, meta = checkpoint.load("run/" + LAST)
    meta["position"].update(change)
    checkpoint.save("run/" + LAST, contents, meta)
    assert main(["--resume", "run", "--stage2-epochs", "1"]) == 2
    assert "record of where training stood" in error_line(capsys)


def test_a_stage_that_cannot_have_begun_is_refused(at_step, capsys: pytest.CaptureFixture[str]) -> None:
    at_step(STEPS + 1, press_ctrl_c)
    train(*TWO)
    contents, meta = checkpoint.load("run/" + LAST)
    meta["position"]["stage"] = 2
    checkpoint.save("run/" + LAST, contents, meta)
    capsys.readouterr()
    assert main(["--resume", "run"]) == 2
    assert "record of where training stood contradicts itself" in error_line(capsys)


def test_a_checkpoint_of_the_second_stage_opens_as_a_model() -> None:
    train(*TWO)
    contents, meta = checkpoint.load("run/" + LAST)
    model = network(resolve(parse(["--model", "noisy"]).given), 10)
    restore_model(model, contents, meta, "run")
    np.testing.assert_array_equal(model.get_submodule("fc").weight.data, contents["fc.weight"])


@pytest.mark.parametrize("name", model_names())
def test_the_last_linear_layer_is_the_classifier_of_every_model(name: str) -> None:
    with init.skip():
        model = create_model(name, num_classes=7, rng=np.random.default_rng(0))
    path, layer = stages.classifier(model)
    assert layer.out_features == 7
    assert path == list(model.state_dict())[-1].rpartition(".")[0]


def test_a_classifier_with_a_prior_gives_way_to_a_plain_one() -> None:
    rng = np.random.default_rng(0)
    model = create_model("resnet8", num_classes=5, rng=rng)
    convert(model, pool="gaussian", classifier="statrot", rng=rng)
    stages.renew_classifier(model.astype(np.float64), rng)
    layer = model.get_submodule("fc")
    assert type(layer) is nn.Linear
    assert layer.bias is None
    assert layer.weight.shape == (5, 64)
    assert layer.weight.dtype == np.float64


def test_a_model_without_a_linear_layer_has_no_second_stage() -> None:
    with pytest.raises(ValueError, match=r"a second stage needs a model that ends with a linear layer, ReLU has none"):
        stages.classifier(nn.ReLU())
