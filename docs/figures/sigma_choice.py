"""How the defaults of σ were chosen: `python -m docs.figures.sigma_choice DIR` trains every setting.

ResNet-8 with Gaussian convolutions on part of CIFAR-10, whose files are in DIR.  docs/priors/sigma-choice.csv gets a
line for every finished run: the settings, test accuracy, and the σ that the layers ended with.  Runs that have a line
are not repeated.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

from minidl.files import written_whole

LOG = Path(__file__).parents[1] / "priors" / "sigma-choice.csv"
SETTINGS = ("kernel", "sigma0", "sigma_max", "sigma_lr", "seed")
COLUMNS = (*SETTINGS, "test_accuracy", "test_loss", "sigma_least", "sigma_median", "sigma_most")


def grid() -> list[tuple[str, ...]]:
    """(kernel, σ0, largest σ, σ's learning rate as a multiple, seed) of every run; "none" is the plain network."""
    runs = [("none", "", "", "")]
    runs += product(("sampled",), ("0.3", "0.5", "1"), ("2",), ("0.1", "1", "10"))
    runs += product(("discrete",), ("0",), ("2",), ("0.1", "1", "10"))
    return [(*run, "0") for run in runs]


def train(setting: tuple[str, ...], data: str) -> dict[str, str]:
    """The line of one run."""
    kernel, sigma0, sigma_max, sigma_lr, seed = setting
    prior = ["--conv", "gaussian", "--sigma-kernel", kernel, "--sigma0", sigma0]
    prior += ["--sigma-max", sigma_max, "--sigma-lr", sigma_lr]
    with tempfile.TemporaryDirectory() as folder:
        common = ["--data", "cifar10", "--data-dir", data, "--no-verify", "--model", "resnet8", "--epochs", "5"]
        common += ["--limit-train", "12800", "--seed", seed, "--out", f"{folder}/run"]
        command = [sys.executable, "-m", "minidl.train", *common, *(prior if kernel != "none" else [])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        last = table(Path(folder, "run", "metrics.csv"))[-1]
        widths = [""] * 3
        if kernel != "none":
            epoch = table(Path(folder, "run", "sigma.csv"))[-1]
            ordered = sorted(float(sigma) for name, sigma in epoch.items() if name != "epoch")
            widths = [f"{ordered[i]:.3f}" for i in (0, len(ordered) // 2, -1)]
    values = (*setting, f"{float(last['test_accuracy']):.4f}", f"{float(last['test_loss']):.4f}", *widths)
    return dict(zip(COLUMNS, values, strict=True))


def table(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main(data: str) -> None:
    """Train what has no line yet."""
    LOG.parent.mkdir(exist_ok=True)
    lines = table(LOG) if LOG.exists() else []
    done = {tuple(line[name] for name in SETTINGS) for line in lines}
    for setting in grid():
        if setting not in done:
            lines.append(train(setting, data))
            print(*lines[-1].values(), sep="  ", flush=True)
            with written_whole(LOG) as beside, beside.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(lines)


if __name__ == "__main__":
    main(sys.argv[1])
