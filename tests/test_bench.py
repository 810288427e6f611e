"""The benchmark: what it times is what it says, peers compute the same, disturbed turns do not count.  No test here
asserts a time."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl.bench import cases, machine, measure, report
from minidl.bench.__main__ import main
from minidl.bench.cases import Case
from minidl.bench.contest import compare, contest, quiet_rounds, seconds_of
from minidl.bench.inputs import counted, inputs
from minidl.bench.machine import Load
from minidl.bench.peers import OURS, PEERS, get_peer
from minidl.bench.peers.base import Peer, fingerprint
from minidl.bench.processes import Entry, PeerError, Process, Turn
from minidl.bench.profiling import profile
from minidl.bench.session import Session, agrees
from minidl.kernels.cpu.threads import num_threads

LINUX = sys.platform == "linux"
KERNELS = {case.name: case for case in cases.kernels()}
CHOSEN = [
    *("conv3x3-16c-32px-s2", "conv1x1-64c-16px-s2", "depthwise3x3-64c-32px-s2", "grouped3x3-128c-16px"),
    *("relu-16c-32px", "batchnorm-64c-8px", "batchnorm-relu-16c-32px:forward", "maxpool3x3-64c-32px"),
    *(
        "avgpool2x2-32c-32px",
        "gaussian-pool2x2",
        "gaussian-pool3x3",
        "gaussian-pool2x2-exact",
        "gaussian-pool3x3-exact",
        "maxent-pool2x2",
        "gaussian-filter",
    ),
    *("gaussian-filter-channels", "cross-entropy-10", "sgd-resnet18"),
]
NETS = [
    cases.network("plain", "resnet8", batch=3, image=16, classes=10),
    cases.network("inference", "resnet8", batch=3, image=16, classes=10, train=False),
    cases.network("large", "resnet18", batch=4, image=64, classes=10),
    cases.network("mobile", "mobilenet_v1", batch=4, image=64, classes=10, train=False),
    *(cases.network(p, "resnet8", batch=3, image=16, classes=10, prior=p) for p in cases.PRIORS),
]
COMPARED = [*(cases.tiny(KERNELS[name]) for name in CHOSEN), *NETS]


def test_cases_have_names_of_their_own_and_survive_json() -> None:
    everything = [*cases.kernels(), *cases.plain(), *cases.priors()]
    assert len({case.name for case in everything}) == len(everything)
    for case in everything:
        assert Case.from_dict(json.loads(json.dumps(case.as_dict()))) == case
    assert {case.name for case in cases.headline()} <= {case.name for case in everything}


def test_operations_and_bytes_are_counted() -> None:
    conv = KERNELS["conv3x3-16c-32px-s2:forward"]
    assert conv.flops == 2 * 128 * 32 * 16 * 16 * 16 * 9
    x, w, y = 128 * 16 * 32 * 32, 32 * 16 * 9, 128 * 32 * 16 * 16
    assert conv.bytes == 4 * (x + w + y)
    both = KERNELS["conv3x3-16c-32px-s2"]
    assert both.flops == 3 * conv.flops
    assert both.bytes == conv.bytes + 4 * (y + 2 * (x + w))
    infer = cases.network("r", "resnet20", batch=2, image=32, classes=10, train=False)
    assert counted(infer).flops == 2 * 2 * 40_551_040  # multiply-adds of an image: He et al. state 0.04 G
    assert counted(replace(infer, op="train", backward=True)).flops == 3 * counted(infer).flops


INSTALLED = [name for name, (_, package) in PEERS.items() if name != OURS and find_spec(package)]


@pytest.fixture(scope="module", params=INSTALLED)
def peer(request: pytest.FixtureRequest) -> Peer:
    return get_peer(request.param, 1)


@pytest.mark.parametrize("case", COMPARED, ids=lambda case: case.name)
def test_peers_compute_what_we_compute(peer: Peer, case: Case) -> None:
    """Results, gradients of every input, losses of two training steps."""
    modes = peer.modes(case)
    if not modes:
        pytest.skip("it has no such op")
    arrays = inputs(case)
    ours = get_peer(OURS, num_threads()).task(case, arrays, "").check()
    assert len(ours) >= 2
    tolerance = 1e-2 if case.is_network else 1e-5
    for mode in modes:
        theirs = peer.task(case, arrays, mode).check()
        assert agrees(ours, theirs)
        sizes = np.repeat(np.abs(ours[::2]), 2)[: len(ours)]
        assert np.allclose(np.divide(theirs, sizes), np.divide(ours, sizes), rtol=0, atol=tolerance)


def test_a_peer_that_lacks_an_op_says_so() -> None:
    torch = pytest.importorskip("torch")
    assert torch is not None
    peer = get_peer("torch", 1)
    assert set(peer.modes(KERNELS["gaussian-filter"])) == {"channels_last", "contiguous", "matrix"}
    assert peer.modes(replace(KERNELS["gaussian-filter"], op="unheard_of")) == ()


def test_a_check_sees_order_sign_and_size() -> None:
    a = np.random.default_rng(0).normal(size=(4, 5))
    same = fingerprint(a)
    assert agrees(same, fingerprint(a * (1 + 1e-5)))
    assert not any(agrees(same, fingerprint(b)) for b in (a.T, -a, a[::-1], 1.1 * a))
    assert not agrees(same, [*same, 1.0])


class Fake:
    """An entry whose turns are written down before."""

    def __init__(self, turns: list[Turn]) -> None:
        self.turns, self.taken = turns, 0

    def take_turn(self) -> Turn:
        self.taken += 1
        return self.turns[(self.taken - 1) % len(self.turns)]


def play(entries: dict[str, Any], pairs: list[tuple[str, str]], rounds: int, seconds: float = 1e9) -> Any:
    return contest(entries, pairs, rounds, seconds)


def test_disturbed_turns_do_not_count() -> None:
    a = Fake([Turn(1.0, 0.0)])
    b = Fake([Turn(2.0, 0.0), Turn(9.0, 0.5)])
    done = play({"a": a, "b": b}, [("a", "b")], 6)
    assert len(done) == 11  # every other round is disturbed
    assert quiet_rounds(done, "a", "b") == 6
    ratio = compare(done, "a", "b")
    assert (ratio.value, ratio.low, ratio.high, ratio.rounds, ratio.quiet) == (0.5, 0.5, 0.5, 6, True)
    assert seconds_of(done, "b") == 2.0


def test_if_it_is_never_quiet_all_rounds_count_and_are_marked() -> None:
    entries = {name: Fake([Turn(s, 0.5)]) for name, s in (("a", 3.0), ("b", 2.0))}
    done = play(entries, [("a", "b")], 6)
    assert len(done) == 12
    ratio = compare(done, "a", "b")
    assert (ratio.value, ratio.rounds, ratio.quiet) == (1.5, 12, False)


def test_an_entry_that_has_its_rounds_rests_and_time_ends_a_contest() -> None:
    entries = {"a": Fake([Turn(1.0, 0.0)]), "b": Fake([Turn(1.0, 0.0)]), "c": Fake([Turn(1.0, 0.5), Turn(1.0, 0.0)])}
    play(entries, [("a", "b"), ("a", "c")], 3)
    assert (entries["a"].taken, entries["b"].taken, entries["c"].taken) == (6, 3, 6)
    assert len(play(entries, [("a", "b")], 3, seconds=0)) == 1


def test_turns_change_their_order() -> None:
    entries = {name: Fake([Turn(1.0, 0.0)]) for name in "abc"}
    assert ["".join(r) for r in play(entries, [("a", "b"), ("a", "c")], 3)] == ["abc", "bca", "cab"]


def test_the_time_of_others_is_what_nobody_of_us_had() -> None:
    before = Load(wall=10.0, busy=100.0, ours=50.0, cores=2)
    tick = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
    assert Load(11.0, 102.0, 52.0, 2).others_since(before) == 0.0
    assert math.isclose(Load(11.0, 102.0, 51.0, 2).others_since(before), (1 - 2 * tick) / 2)


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_another_process_is_noticed() -> None:
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = machine.load(os.getpid())
        time.sleep(0.5)
        after = machine.load(os.getpid())
    finally:
        spinning.kill()
        spinning.wait()
    assert before is not None
    assert after is not None
    assert not Turn(1.0, after.others_since(before)).quiet


@pytest.fixture(scope="module")
def ours() -> Any:
    with Process(OURS, num_threads()) as process:
        yield process


def ready(process: Process, folder: Path, case: Case) -> Entry:
    np.savez(folder / "a.npz", allow_pickle=False, **inputs(case))
    return Entry(process, case, str(folder / "a.npz"), "", turn=0.0)


def test_a_worker_runs_a_case(ours: Process, tmp_path: Path) -> None:
    assert "NumPy" in ours.version
    entry = ready(ours, tmp_path, cases.tiny(KERNELS["relu-16c-32px"]))
    assert entry.runs == 1
    assert entry.take_turn().seconds > 0
    assert len(ours.ask("run", key=entry.key, runs=3, warm=True)) == 3
    assert entry.check == get_peer(OURS, num_threads()).task(entry.case, inputs(entry.case), "").check()
    entry.close()
    with pytest.raises(PeerError, match=r"^minidl: KeyError: .*relu"):
        entry.take_turn()


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_a_worker_is_paused_between_its_turns(ours: Process) -> None:
    ours.ask("hello")
    for _ in range(100):
        state = Path(f"/proc/{ours.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "T":
            break
        time.sleep(0.01)
    assert state == "T"


def test_a_worker_that_dies_says_so_in_one_line() -> None:
    with Process(OURS, num_threads()) as process:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(PeerError, match=r"^minidl: the process ended with status -9$"):
            process.ask("hello")


def test_a_framework_or_an_interpreter_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"^jax: cannot start .*nowhere"):
        Process("jax", 1, str(tmp_path / "nowhere"))
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'Segmentation fault' >&2\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(PeerError, match=r"^torch: Segmentation fault$"):
        Process("torch", 1, str(script))


def run(*words: str) -> int:
    return main([*words, "--quick"])


def test_the_command_writes_tables_json_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--only", "relu-16c-32px:forward", "resnet20-infer", "--peers", "--out", str(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["roofline.png", "steps.json", "steps.md"]
    document = report.read(tmp_path / "steps.json")
    assert [r["case"]["name"] for r in document["results"]] == ["relu-16c-32px:forward", "resnet20-infer"]
    assert all(r["entries"][OURS]["seconds"] > 0 for r in document["results"])
    assert document["peak"]["gflops"] > 0
    assert os.uname().nodename not in (tmp_path / "steps.json").read_text()
    page = (tmp_path / "steps.md").read_text()
    for text in (shown, page):
        assert "relu-16c-32px:forward" in text
        assert "GFLOP/s (float32 products" in text
    assert "![roofline](roofline.png)" in page
    assert main(["--markdown", str(tmp_path / "steps.json"), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "steps.md").read_text() == page


def test_the_claims_are_judged(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert run("--headline", "--only", "gaussian-pool2x2", "--peers", "torch", "--out", str(tmp_path)) == 0
    (result,) = report.read(tmp_path / "headline.json")["results"]
    assert set(result["entries"]) == {OURS, "torch/channels_last", "torch/contiguous"}
    assert all(entry["agrees"] for entry in result["entries"].values())
    best = result["best"]["torch"]
    assert result["entries"][best]["seconds"] == min(
        e["seconds"] for label, e in result["entries"].items() if label != OURS
    )
    judged = (tmp_path / "headline.md").read_text()
    assert ("0.7 ✓" in judged) == (result["ratios"][best]["value"] <= 0.7)
    assert ("0.7 ✗" in judged) == (result["ratios"][best]["value"] > 0.7)


def test_a_profile_accounts_for_the_whole_step() -> None:
    case = cases.tiny(cases.network("net", "resnet20", batch=4, image=32, classes=10))
    found = profile(case, steps=2, threads=num_threads())
    inside = sum(op["forward"] + op["backward"] for op in found["ops"])
    assert math.isclose(inside + found["optimizer"] + found["rest"], found["seconds"])
    assert found["rest"] > 0
    assert found["optimizer"] > 0
    calls = {name: sum(op["calls"] for op in found["ops"] if op["op"] == name) for name in ("Conv2d", "Linear")}
    assert calls == {"Conv2d": 7, "Linear": 1}
    assert all(op["backward"] > 0 for op in found["ops"])


def test_the_other_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cases, "PRIORS", {"gaussian-pool": {"pool": "gaussian"}})
    for what in ("overhead", "memory", "profile", "scaling"):
        assert run(f"--{what}", "--peers", "--out", str(tmp_path)) == 0
    shown = capsys.readouterr().out
    for words in ("gaussian-pool", "× plain", "after step 4", "of the step", "µs an image", "channels: "):
        assert words in shown
    (row,) = report.read(tmp_path / "overhead.json")["results"]
    assert row["peers"][OURS]["peak_mib"] > 0
    (memory,) = report.read(tmp_path / "memory.json")["results"]
    assert len(memory["held_mib"]) == 4
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_what_fails_in_a_peer_is_told_and_the_rest_goes_on() -> None:
    torch = pytest.importorskip("torch")
    assert torch is not None
    case = replace(cases.tiny(KERNELS["maxent-pool2x2"]), params={"kernel_size": 3, "stride": 2, "padding": 1})
    with Session({"torch": None}, num_threads(), turn=0.0) as session:
        (result,) = measure.times(session, [case], 1, 10.0, lambda text: None)
    assert list(result["entries"]) == [OURS]
    assert "written for windows without padding" in result["failed"]["torch"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "conv3x4"], "--only: no case has 'conv3x4' in its name"),
        (["--rounds", "0"], "--rounds must be an integer >= 1, got '0'"),
        (["--peers", "cafe"], "--peers must be of torch, jax, chainer, mygrad, each with =PYTHON"),
        (["--peers", "jax=/no/where"], "--peers jax: there is no interpreter /no/where"),
        (["--threads", "4096"], "--threads must be at most"),
        (["--headline", "--scaling"], "not allowed with argument"),
        (["--fast"], "unrecognized arguments: --fast"),
        (["--markdown", "absent.json"], "cannot read absent.json: No such file"),
    ],
)
def test_mistakes_are_told_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("minidl.bench: error: ")
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1, "what": "else"}', '{"what": "steps"}'])
def test_other_files_are_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text(text)
    assert main(["--markdown", str(tmp_path / "a.json")]) == 2
    assert "a.json is not" in capsys.readouterr().err


def test_the_list_names_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{case.name} " in listed for case in [*cases.kernels(), *cases.plain(), *cases.priors()])
