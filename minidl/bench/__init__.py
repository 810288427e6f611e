"""`python -m minidl.bench`: how long an op or a training step takes, beside other frameworks on the same machine.

cases       what is timed: ops and whole steps, with their sizes and operations
inputs      the arrays of a case, the same for everybody
nets        the networks, in terms of the ops that a framework provides
peers/      minidl and the frameworks it is compared with, a file each
worker      a process that holds one framework and runs cases when told
machine     what this computer is and can do at most; what else runs on it
contest     rounds in which frameworks take turns, and what follows from them
measure     what the command line asks for, from cases to results
memory      peak and growth of a process that trains
profiling   where a step of ours goes, op by op
report, plots   tables on the screen and in Markdown, JSON, pictures
"""
