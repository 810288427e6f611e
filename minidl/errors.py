"""What a person did that cannot be done: each message is one line that names the rule and the value.

The command lines print these, and only these, without a traceback.  A mistake in the arguments of a
Python call stays a ValueError or TypeError.
"""


class UserError(Exception):
    """Base of the errors that a command line reports in one line."""


class DeviceError(UserError):
    """A device was asked for that this machine cannot give."""


class DataError(UserError):
    """A data set is missing, damaged, or not what it claims to be."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or belongs to another model or run."""


class ConfigError(UserError):
    """A flag, or an entry of a configuration file, is unknown or has an impossible value."""
