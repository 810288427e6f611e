"""Data sets, and loaders that make training batches of them."""

from minidl.data.augment import Compose, Cutout, Flip, PadCrop, augment_names, create_augment
from minidl.data.catalogue import create_dataset, dataset_names
from minidl.data.cifar import CIFAR, CIFAR10, CIFAR100
from minidl.data.dataset import ArrayDataset, Dataset, Subset
from minidl.data.loader import Loader, normalise
from minidl.data.multiscale import MultiScale, draw

__all__ = [
    "CIFAR",
    "CIFAR10",
    "CIFAR100",
    "ArrayDataset",
    "Compose",
    "Cutout",
    "Dataset",
    "Flip",
    "Loader",
    "MultiScale",
    "PadCrop",
    "Subset",
    "augment_names",
    "create_augment",
    "create_dataset",
    "dataset_names",
    "draw",
    "normalise",
]
