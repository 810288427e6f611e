"""What is true of every operation, and the means to check it: of ours, and of other people's.

from minidl.check import compare
print(compare(my_conv2d, "conv2d"))
"""

from minidl.check.compare import assert_conforms, compare
from minidl.check.gradcheck import GradReport, gradcheck
from minidl.check.report import Verdict

__all__ = ["GradReport", "Verdict", "assert_conforms", "compare", "gradcheck"]
