"""Data sets, and loaders that make training batches of them."""

from minidl.data.augment import ColorJitter, Compose, Cutout, Flip, Lighting, PadCrop, augment_names, create_augment
from minidl.data.catalogue import create_dataset, dataset_names
from minidl.data.cifar import CIFAR, CIFAR10, CIFAR100
from minidl.data.dataset import ArrayDataset, Dataset, Subset
from minidl.data.folder import ImageFolder
from minidl.data.loader import Loader, normalise
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
    "augment_names",
    "create_augment",
    "create_dataset",
    "dataset_names",
    "draw",
    "normalise",
]
