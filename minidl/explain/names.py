"""Words for the WordNet numbers by which ImageNet's folders are called, for the ten classes of Imagenette."""

from __future__ import annotations

__all__ = ["readable"]

WORDS = {
    "n01440764": "tench",
    "n02102040": "springer spaniel",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


def readable(class_name: str) -> str:
    """A class name as a person would say it; names that are no known number stay as they are.

    Example:
        >>> readable("n03028079"), readable("tabby_cat")
        ('church', 'tabby cat')
    """
    return WORDS.get(class_name, class_name.replace("_", " "))
