"""The second stage of long-tailed training: a new classifier on features that no longer change.

    stage 1    --epochs           the whole network, as without a second stage
    stage 2    --stage2-epochs    a new linear layer without bias in place of the classifier; images class-aware,
                                  loss without logit adjustment (frequencies are equal already), its own course of
                                  the learning rate; all else frozen

Frozen means evaluation mode, too.  The authors' code stops the gradients alone and leaves the network in training
mode, where the running statistics of BatchNorm go on moving, now with class-aware batches: features are then tested
that no classifier was trained on.  Here no bit of them changes, and their noise and dropout are off.

Sources: B. Kang and others, "Decoupling representation and classifier for long-tailed recognition", ICLR 2020;
the authors' published code of "Rotation regularization without rotation", ECCV 2022.
"""

from __future__ import annotations

import numpy as np

from minidl import nn, ops
from minidl.priors.like import like
from minidl.schedule import create_schedule
from minidl.train.build import Training, optimizer, training_loader
from minidl.train.long_tail import balanced_order

__all__ = ["advance", "classifier_alone", "renew_classifier"]

STAGE_STREAM = 0x57A6E2  # keeps the new classifier's first values apart from other random numbers of the same seed


def advance(run: Training) -> None:
    """Enter the second stage if the first is done."""
    if run.position.stage == 1 and run.position.epoch >= run.config.epochs:
        seed = np.random.SeedSequence(run.config.seed, spawn_key=(STAGE_STREAM,))
        renew_classifier(run.model, np.random.default_rng(seed))
        run.position.stage = 2
        classifier_alone(run)


def renew_classifier(model: nn.Module, rng: np.random.Generator) -> None:
    """A plain linear layer without bias in place of the last linear one, whatever kind that is."""
    path, old = classifier(model)
    new = nn.Linear(old.in_features, old.out_features, bias=False, rng=rng)
    like(new, old.weight)
    model.set_submodule(path, new)


def classifier_alone(run: Training) -> None:
    """From here on, train the classifier and nothing else."""
    config, steps = run.config, run.steps_per_epoch
    _, run.trained = classifier(run.model)
    run.model.requires_grad_(False)
    run.trained.requires_grad_(True)
    run.optimizer = optimizer(config, run.trained)
    run.train_loader = training_loader(config, run.train_set, balanced_order(config, run.train_set))
    run.loss = lambda z, labels: ops.cross_entropy(z, labels, label_smoothing=config.label_smoothing)
    rate = create_schedule(config.sched, lr=config.stage2_lr or config.lr, total_steps=config.stage2_epochs * steps)
    run.schedule = lambda step: rate(step - config.epochs * steps)


def classifier(model: nn.Module) -> tuple[str, nn.Linear]:
    """The last linear layer of `model`, and its path.

    Raises:
        ValueError: there is none.
    """
    found = [(path, m) for path, m in model.named_modules() if isinstance(m, nn.Linear)]
    if not found:
        raise ValueError(f"a second stage needs a model that ends with a linear layer, {type(model).__name__} has none")
    return found[-1]
