"""`python -m minidl.selfcheck`: whether this machine computes what it must, and a report of it to send.

finding    what a check found: the record                  machine    versions and card, nothing personal
operations every op against its definition                 steps      a training step with each prior, against the CPU
training   short runs: curve, bits, memory, precision       speed      times, beside PyTorch's where it is installed
parts      one after the other                               report     a page to read, a file to send
"""

from minidl.selfcheck.finding import Finding
from minidl.selfcheck.parts import run

__all__ = ["Finding", "run"]
