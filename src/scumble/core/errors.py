"""The two errors that are nobody's bug: bad input, and a machine that cannot."""


class InputError(ValueError):
    """The input cannot be used. The message names the input, what is wrong with it and what to do."""


class MachineError(RuntimeError):
    """Memory, network or disk did not suffice. The message says what was wanted, what was there, what to do."""
