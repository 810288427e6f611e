"""Image folders: every mode, damage and bomb; and that neither workers nor the cache change a pixel."""

from __future__ import annotations

import gc
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from minidl.data import Flip, ImageFolder, Loader, create_dataset, decode
from minidl.data.workers import Decoders, Recipe
from minidl.errors import DataError


def photograph(seed: int, width: int = 50, height: int = 40) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, count in (("train", 5), ("val", 2)):
        for label, name in enumerate(("cat", "dog", "emu")):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                photograph(100 * label + i, 50 + i, 40).save(tmp_path / split / name / f"{i}.jpg")
    return tmp_path


def batches(root: Path, **options) -> list[tuple[np.ndarray, np.ndarray]]:
    data = ImageFolder(root, "train", image_size=16, **options)
    loader = Loader(data, 4, seed=0, shuffle=True, drop_last=False, augment=Flip())
    made = [batch for epoch in range(2) for batch in loader.epoch(epoch)]
    data.close()
    return made


def test_neither_workers_nor_the_cache_change_a_pixel(root: Path) -> None:
    expected = batches(root, workers=0, cache_bytes=0)
    for options in (
        {"workers": 0},
        {"workers": 3, "cache_bytes": 0},
        {"workers": 2},
        {"workers": 0, "cache_bytes": 20_000},  # room for some of them
    ):
        for (x, labels), (x_expected, labels_expected) in zip(batches(root, **options), expected, strict=True):
            np.testing.assert_array_equal(x, x_expected)
            np.testing.assert_array_equal(labels, labels_expected)


def test_splits_labels_and_names(root: Path) -> None:
    train = create_dataset(root, split="train", image_size=16, workers=0)
    test = create_dataset(str(root), split="test", image_size=16, workers=0)
    assert train.class_names == test.class_names == ("cat", "dog", "emu")
    assert (len(train), len(test), train.image_shape) == (15, 6, (3, 16, 16))
    np.testing.assert_array_equal(test.labels, [0, 0, 1, 1, 2, 2])
    images, labels = test.batch(np.array([5, 0]))
    assert images.shape == (2, 3, 16, 16) and images.flags.c_contiguous and labels.tolist() == [2, 0]
    (root / "val").rename(root / "test")
    assert len(create_dataset(root, split="test", workers=0)) == 6


def test_the_fixed_view_is_the_middle_and_the_test_split_always_gives_it(root: Path) -> None:
    test = ImageFolder(root, "test", image_size=16, workers=0)
    images, _ = test.batch(np.arange(6))
    np.testing.assert_array_equal(images, test.batch(np.arange(6), rng=np.random.default_rng(0))[0])
    with Image.open(test.paths[3]) as image:
        width, height = (round(side * 32 / image.height) for side in image.size)
        reduced = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    middle = reduced.resize((16, 16), Image.Resampling.BILINEAR, ((width - 28) / 2, 2, (width + 28) / 2, 30))
    np.testing.assert_array_equal(images[3].transpose(1, 2, 0), np.asarray(middle))


def test_random_parts_cover_areas_and_shapes_evenly() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([decode.random_box(1000, 1000, rng.random(decode.DRAWS), 0.2) for _ in range(2000)])
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes >= 0).all() and (boxes <= 1000).all() and (w > 0).all() and (h > 0).all()
    small = w * h < 0.5e6  # there the shape never runs into the border
    for value, law in [
        (w[small] * h[small] / 1e6, stats.uniform(0.2, 0.3)),
        (np.log(w / h)[small], stats.uniform(np.log(3 / 4), np.log(16 / 9))),
        ((boxes[:, 0] / (1001 - w))[small], stats.uniform(0, 1)),
        ((boxes[:, 1] / (1001 - h))[small], stats.uniform(0, 1)),
    ]:
        assert stats.kstest(value, law.cdf).pvalue > 1e-4


@pytest.mark.parametrize(("height", "width"), [(10, 400), (400, 10), (1, 1), (1, 50)])
def test_random_parts_of_odd_shapes_stay_inside(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        left, top, right, bottom = decode.random_box(height, width, rng.random(decode.DRAWS), 0.08)
        assert 0 <= left < right <= width and 0 <= top < bottom <= height


# Kinds of files.


def pixel(path: Path) -> list[int]:
    return decode.decode(str(path), 100)[0, 0].tolist()


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    colour = (200, 100, 50)
    grey16 = np.full((4, 6), 51_400, np.uint16)
    palette = Image.new("P", (6, 4), 1)
    palette.putpalette([0, 0, 0, *colour])
    transparent = Image.new("RGBA", (6, 4), (*colour, 0))
    see_through = palette.copy()
    see_through.info["transparency"] = 1
    for name, image, expected in [
        ("rgb.png", Image.new("RGB", (6, 4), colour), colour),
        ("rgb.bmp", Image.new("RGB", (6, 4), colour), colour),
        ("rgb.ppm", Image.new("RGB", (6, 4), colour), colour),
        ("grey.png", Image.new("L", (6, 4), 90), (90, 90, 90)),
        ("grey16.png", Image.fromarray(grey16), (200, 200, 200)),
        ("bit.png", Image.new("1", (6, 4), 1), (255, 255, 255)),
        ("palette.png", palette, colour),
        ("palette.gif", palette, colour),
        ("transparent.png", transparent, (255, 255, 255)),
        ("see-through.png", see_through, (255, 255, 255)),
        ("grey-alpha.png", Image.new("LA", (6, 4), (90, 255)), (90, 90, 90)),
    ]:
        image.save(tmp_path / name)
        assert pixel(tmp_path / name) == list(expected), name
    for name, image, expected in [
        ("grey.jpg", Image.new("L", (16, 16), 90), (90, 90, 90)),
        ("cmyk.jpg", Image.new("CMYK", (16, 16), (0, 255, 0, 0)), (255, 0, 255)),
    ]:
        image.save(tmp_path / name, quality=100)
        np.testing.assert_allclose(pixel(tmp_path / name), expected, atol=2)


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10))
    image.paste((255, 0, 0), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it 90° clockwise
    image.save(tmp_path / "a.png", exif=exif)
    upright = decode.decode(str(tmp_path / "a.png"), 100)
    assert upright.shape == (20, 10, 3)
    np.testing.assert_array_equal(upright[:, 0, 0], [255] * 10 + [0] * 10)


def test_images_are_reduced_and_never_enlarged(tmp_path: Path) -> None:
    photograph(0, 400, 300).save(tmp_path / "a.jpg")
    assert decode.decode(str(tmp_path / "a.jpg"), 32).shape == (32, 42, 3)  # JPEG's own 1/8 is 38 × 50
    assert decode.decode(str(tmp_path / "a.jpg"), 900).shape == (300, 400, 3)
    photograph(0, 300, 2).save(tmp_path / "b.png")
    assert decode.decode(str(tmp_path / "b.png"), 1).shape == (1, 150, 3)


# Damaged and hostile files.


def png_of_size(width: int, height: int) -> bytes:
    """A small file that claims to be a large image."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


BAD = {
    "empty": b"",
    "text": b"hello",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "bomb": png_of_size(9000, 9000),
    "larger bomb": png_of_size(12_000, 12_000),
    "largest bomb": png_of_size(2**31 - 1, 2**31 - 1),
    "too few pixels": png_of_size(50, 50),
}


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_named_in_one_line(workers: int, root: Path) -> None:
    bad = root / "train" / "dog" / "3.jpg"
    good = bad.read_bytes()
    data = ImageFolder(root, "train", image_size=16, workers=workers, cache_bytes=0)
    for kind, content in {**BAD, "cut short": good[: len(good) // 2], "missing": None}.items():
        bad.unlink()
        if content is not None:
            bad.write_bytes(content)
        rule = "must have at most 67,108,864 pixels" if "bomb" in kind else ""
        with pytest.raises(DataError, match=rf"train/dog/3\.jpg: {rule}") as caught:
            data.batch(np.arange(15))
        assert "\n" not in str(caught.value)
        bad.write_bytes(good)
        assert data.batch(np.arange(15))[0].shape == (15, 3, 16, 16)  # and it goes on
    data.close()


def test_a_pool_that_nobody_closes_ends_its_processes(root: Path) -> None:
    decoders = Decoders(1)
    decoders.images([(str(root / "train" / "cat" / "0.jpg"), None)], Recipe(32, 16, 0.08))
    process = decoders._idle.get()
    decoders._idle.put(process)
    del decoders
    gc.collect()
    assert process.poll() == 0


def test_a_decoder_that_is_killed_is_reported_and_replaced(root: Path) -> None:
    decoders = Decoders(1)
    task, recipe = (str(root / "train" / "cat" / "0.jpg"), None), Recipe(32, 16, 0.08)
    expected = decoders.images([task], recipe)[0]
    process = decoders._idle.get()
    process.kill()
    process.wait()
    decoders._idle.put(process)
    with pytest.raises(DataError, match=r"0\.jpg: the process that decodes images ended with code -9"):
        decoders.images([task], recipe)
    np.testing.assert_array_equal(decoders.images([task], recipe)[0], expected)
    decoders.close()


def test_decoders_end_with_close_and_start_again(root: Path) -> None:
    decoders = Decoders(2)
    tasks, recipe = [(str(root / "train" / "cat" / f"{i}.jpg"), None) for i in range(5)], Recipe(32, 16, 0.08)
    first = decoders.images(tasks, recipe)
    processes = [decoders._idle.get() for _ in range(2)]
    for process in processes:
        decoders._idle.put(process)
    decoders.close()
    assert [process.poll() for process in processes] == [0, 0]
    np.testing.assert_array_equal(decoders.images(tasks, recipe), first)
    decoders.close()
    decoders.close()


def test_decoders_end_when_their_owner_is_killed(root: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from minidl.data.workers import Decoders, Recipe\n"
        "decoders = Decoders(1)\n"
        "decoders.images([(sys.argv[1], None)], Recipe(32, 16, 0.08))\n"
        "print(decoders._idle.get().pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = str(root / "train" / "cat" / "0.jpg")
    owner = subprocess.run([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True, timeout=60)
    pid = int(owner.stdout)
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z":  # ended; nobody has asked for its code
            return
        time.sleep(0.02)
    pytest.fail(f"decoder {pid} still runs")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "train").rename(root / "training"), r"must hold train/CLASS/\*\.jpg .* no folder train"),
        (lambda root: (root / "val").rename(root / "validation"), r"must hold test/CLASS/\*\.jpg or val/.* neither"),
        (lambda root: (root / "val" / "fox").mkdir(), r"val/fox: must be one of the classes in .*train, .* 3"),
        (lambda root: [p.unlink() for p in (root / "val" / "cat").iterdir()], r"val/cat: must hold images \(\.jpg"),
    ],
)
def test_folders_laid_out_otherwise_are_refused(change, message: str, root: Path) -> None:
    change(root)
    with pytest.raises(DataError, match=message):
        create_dataset(root, split="test", workers=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda path: path.write_bytes(b"garbage"),
            r"train/cat/9\.jpg: damaged, or not an image; remove or replace it",
        ),
        (lambda path: path.write_bytes(b""), r"train/cat/9\.jpg: damaged, or not an image"),
        (lambda path: path.symlink_to(__file__), r"train/cat/9\.jpg: damaged, or not an image"),
        (lambda path: path.symlink_to("nowhere.jpg"), r"train/cat/9\.jpg: No such file or directory"),
        (lambda path: path.mkdir(), r"train/cat/9\.jpg: is no file"),
        (lambda path: os.mkfifo(path), r"train/cat/9\.jpg: is no file"),  # which would be waited for
    ],
)
def test_files_that_are_no_images_are_refused_before_training(change, message: str, root: Path) -> None:
    change(root / "train" / "cat" / "9.jpg")
    with pytest.raises(DataError, match=message):
        create_dataset(root, workers=0)
    assert len(create_dataset(root, workers=0, verify=False)) == 16
    (root / "train" / "dog" / "8.png").write_bytes(b"garbage")
    with pytest.raises(DataError, match=r"9\.jpg: .* \(and 1 more of 17 files\); remove or replace it"):
        create_dataset(root, workers=0)


def test_a_link_to_an_image_is_an_image(root: Path) -> None:
    (root / "train" / "cat" / "9.jpg").symlink_to(root / "val" / "cat" / "0.jpg")
    assert len(create_dataset(root, workers=0)) == 16


def test_a_folder_without_classes_and_unknown_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / ".hidden").mkdir(parents=True)
    with pytest.raises(DataError, match=r"train: must hold a folder a class, there is none"):
        create_dataset(tmp_path)
    with pytest.raises(DataError, match=r"data: must be one of multiscale, .* or a folder, got 'imagnet'"):
        create_dataset("imagnet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size must be an integer >= 1, got 0"),
        ({"workers": -1}, "workers must be an integer >= 0, got -1"),
        ({"min_area": 0.0}, "min_area must be > 0 and <= 1, got 0.0"),
        ({"min_area": float("nan")}, "min_area must be > 0 and <= 1, got nan"),
    ],
)
def test_impossible_arguments_are_refused(options: dict, message: str, root: Path) -> None:
    with pytest.raises(ValueError, match=f"ImageFolder: {message}"):
        ImageFolder(root, "train", **options)


@pytest.mark.data
def test_the_real_photographs() -> None:
    root = Path(os.environ.get("MINIDL_DATA", "")) / "imagenette160"
    if not os.environ.get("MINIDL_DATA") or not root.is_dir():
        pytest.skip("MINIDL_DATA holds no imagenette160")
    train, test = (create_dataset(root, split=split, image_size=64, workers=2) for split in ("train", "test"))
    assert (len(train), len(test), train.num_classes) == (6000, 3897, 10)
    x, labels = next(Loader(train, 64, seed=0, shuffle=True, drop_last=True, augment=Flip()).epoch(0))
    assert x.shape == (64, 3, 64, 64) and len(set(labels)) > 5
    assert abs(x.mean()) < 0.5 and 0.5 < x.std() < 1.5
    train.close()
