"""PyTorch and JAX beside every op that they have, and the subgradients that they choose."""

from __future__ import annotations

import importlib
import sys
import warnings

import pytest

from minidl.check import kinks, peers
from minidl.check.peers import PEERS
from minidl.check.spec import CASES
from minidl.errors import ConfigError


def functions(peer: str) -> dict:
    library = pytest.importorskip(peer)
    if peer == "torch":
        library.set_num_threads(1)  # its threads spin while they wait
    return importlib.import_module(f"minidl.check.peers.{peer}").functions()


def asked() -> list:
    """Every op of every peer that is installed."""
    found = []
    for peer in PEERS:
        try:
            found += [pytest.param(peer, op, id=f"{peer}-{op}") for op in functions(peer)]
        except pytest.skip.Exception as reason:
            found.append(pytest.param(peer, "", id=peer, marks=pytest.mark.skip(reason=str(reason))))
    return found


@pytest.mark.parametrize(("peer", "op"), asked())
def test_a_peer_conforms(peer: str, op: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peer's own, about padding='same'
        (line,) = peers.lines(peer, drawn=2, only=(op,))
    assert line.verdict is not None and line.verdict.ok, str(line.verdict)
    assert line.verdict.gradients, "its gradients were not looked at"


def test_pytorch_has_most_of_the_ops() -> None:
    missing = {case.name for case in CASES} - functions("torch").keys()
    assert missing == {
        "dropout",  # draws its mask itself
        "gaussian_kernel1d",
        "separable_filter",
        "gaussian_filter",
        "gaussian_pool2d",
        "maxent_pool2d",
        "half_gaussian",
        "inverse_softplus_gaussian",
        "stat_rot_linear",
    }


def test_the_table_of_kinks_has_a_row_for_every_kink() -> None:
    rows = kinks.table({})
    assert len(rows) == sum(len(case.kinks) for case in CASES)
    text = kinks.markdown(rows)
    assert text.splitlines()[0] == "| op | where | minidl |"
    assert "| abs | x = 0 | 0 |" in text


def test_subgradients_of_pytorch() -> None:
    rows = kinks.table({"torch": functions("torch")})
    chosen = {(row["op"], row["where"]): (row["minidl"], row["PyTorch"]) for row in rows}
    assert chosen["relu", "x = 0: 0"] == ("0", "0")
    assert chosen["logsumexp", "every x = −∞: 0"] == ("0", "nan")
    assert chosen["stat_rot_linear", "x parallel to w, or 0: the root does not act"][1] == kinks.ABSENT


def test_an_unknown_or_missing_peer_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="peers: must be one of torch, jax, got 'theano'"):
        next(peers.lines("theano"))
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(ConfigError, match="peers: JAX is not installed"):
        next(peers.lines("jax"))
