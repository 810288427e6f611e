"""Data sets, and loaders that make training batches of them."""

from minidl.data.augment import ColorJitter, Compose, Cutout, Flip, Lighting, PadCrop, augment_names, create_augment
from minidl.data.catalogue import create_dataset, dataset_names
from minidl.data.cifar import CIFAR, CIFAR10, CIFAR100
from minidl.data.dataset import ArrayDataset, Dataset, Subset
from minidl.data.folder import ImageFolder
from minidl.data.loader import Loader, normalise
from minidl.data.long_tail import accuracy_by_shots, class_aware, class_counts, long_tailed, shot_groups
from minidl.data.multiscale import MultiScale, draw

__all__ = [
    "CIFAR",
    "CIFAR10",
    "CIFAR100",
    "ArrayDataset",
    "ColorJitter",
    "Compose",
    "Cutout",
    "Dataset",
    "Flip",
    "ImageFolder",
    "Lighting",
    "Loader",
    "MultiScale",
    "PadCrop",
    "Subset",
    "accuracy_by_shots",
    "augment_names",
    "class_aware",
    "class_counts",
    "create_augment",
    "create_dataset",
    "dataset_names",
    "draw",
    "long_tailed",
    "normalise",
    "shot_groups",
]
