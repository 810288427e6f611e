"""What is public: rooms, modules, names, in the order in which the reference shows them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# A page of the reference: its modules, in order.  A module's names are those of its __all__, or its own definitions.
ROOMS: dict[str, tuple[str, ...]] = {
    "autograd": ("minidl.autograd",),
    "ops": (
        "minidl.ops.products",
        "minidl.ops.conv",
        "minidl.ops.pool",
        "minidl.ops.norm",
        "minidl.ops.activation",
        "minidl.ops.softmax",
        "minidl.ops.loss",
        "minidl.ops.dropout",
        "minidl.ops.gaussian",
        "minidl.ops.stochastic_pool",
        "minidl.ops.rotation",
        "minidl.ops.elementwise",
        "minidl.ops.piecewise",
        "minidl.ops.reduce",
        "minidl.ops.shape",
        "minidl.ops.index",
    ),
    "nn": (
        "minidl.nn.module",
        "minidl.nn.parameter",
        "minidl.nn.container",
        "minidl.nn.linear",
        "minidl.nn.conv",
        "minidl.nn.pool",
        "minidl.nn.norm",
        "minidl.nn.activation",
        "minidl.nn.dropout",
        "minidl.nn.init",
    ),
    "models": (
        "minidl.models.registry",
        "minidl.models.count",
        "minidl.models.resnet",
        "minidl.models.mobilenet",
        "minidl.models.vgg",
        "minidl.models.densenet",
    ),
    "priors": (
        "minidl.priors.convert",
        "minidl.priors.gaussian_pool",
        "minidl.priors.maxent_pool",
        "minidl.priors.guidance",
        "minidl.priors.gaussian_conv",
        "minidl.priors.basis_conv",
        "minidl.priors.rotation",
        "minidl.priors.logit",
    ),
    "optim": ("minidl.optim", "minidl.schedule"),
    "data": (
        "minidl.data.catalogue",
        "minidl.data.dataset",
        "minidl.data.cifar",
        "minidl.data.folder",
        "minidl.data.multiscale",
        "minidl.data.loader",
        "minidl.data.augment",
        "minidl.data.long_tail",
    ),
    "checkpoint": ("minidl.checkpoint", "minidl.weights", "minidl.files", "minidl.errors"),
    "check": (
        "minidl.check.compare",
        "minidl.check.report",
        "minidl.check.gradcheck",
        "minidl.check.spec.case",
        "minidl.check.bounds",
        "minidl.check.kinks",
    ),
    "explain": (
        "minidl.explain.gradcam",
        "minidl.explain.field",
        "minidl.explain.predict",
        "minidl.explain.resize",
    ),
    "kernels": ("minidl.kernels", "minidl.device"),
}


# Modules of which only these names are meant for others.
ONLY: dict[str, tuple[str, ...]] = {
    "minidl.models.count": ("count", "LayerCost", "ModelCost"),
    "minidl.models.resnet": ("ResNet",),
    "minidl.models.mobilenet": ("MobileNet",),
    "minidl.models.vgg": ("VGG",),
    "minidl.models.densenet": ("DenseNet",),
    "minidl.check.report": ("Verdict",),
    "minidl.priors.convert": ("convert", "Change", "Conversion", "sigma_parameters", "sigmas"),
    "minidl.data.cifar": ("CIFAR", "Files"),
    "minidl.checkpoint": ("save", "load", "load_module", "read_safetensors"),
    "minidl.check.compare": ("compare", "assert_conforms"),
    "minidl.check.kinks": ("table",),
    "minidl.explain.predict": ("Prediction", "Step", "predict"),
    "minidl.device": ("Device", "get_device", "get_array_module", "asnumpy"),
}
PACKAGES = ("minidl", "minidl.ops", "minidl.nn", "minidl.models", "minidl.priors", "minidl.data", "minidl.check")
PACKAGES += ("minidl.explain",)


def public_name(path: str, name: str) -> str:
    """The shortest name by which something can be had.

    Example:
        >>> public_name("minidl.ops.conv", "conv2d"), public_name("minidl.autograd", "Tensor")
        ('minidl.ops.conv2d', 'minidl.Tensor')
    """
    obj = getattr(importlib.import_module(path), name)
    for package in PACKAGES:
        if path.startswith(package) and getattr(importlib.import_module(package), name, None) is obj:
            return f"{package}.{name}"
    return f"{path}.{name}"


def module_names(module: ModuleType) -> list[str]:
    """The public names of a module, as they stand in it.

    Example:
        >>> import minidl.schedule
        >>> module_names(minidl.schedule)
        ['create_schedule', 'schedule_names']
    """
    exported = ONLY.get(module.__name__, getattr(module, "__all__", None))
    own = [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and (inspect.isclass(value) or callable(value))
    ]
    if exported is None:
        return [name for name in own if not name.startswith("_")]
    return [name for name in own if name in exported]


def public() -> Iterator[tuple[str, str, Any]]:
    """Module, name and object of everything public that is documented: classes and functions."""
    for modules in ROOMS.values():
        for path in modules:
            module = importlib.import_module(path)
            for name in module_names(module):
                yield path, name, getattr(module, name)


def methods(cls: type) -> Iterator[tuple[str, Any]]:
    """A class's own public methods and properties that stand in its own body."""
    for name, value in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(value, (staticmethod, classmethod)):
            yield name, value.__func__
        elif inspect.isfunction(value) or isinstance(value, property):
            yield name, value
