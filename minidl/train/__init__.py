"""Training from the command line: `python -m minidl.train`.

config     a field per flag, with its rule          cli        flags and TOML files
recipes    defaults that suit each data set         build      configuration → data, network, optimiser
loop       the training loop: read this first       state      what a checkpoint holds
record     the run's folder                         plots      its curves
progress   what is shown while it runs              interrupt  Ctrl-C
"""
