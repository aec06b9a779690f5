"""The one error that bad input raises."""


class InputError(ValueError):
    """The input cannot be used. The message names the input, what is wrong with it and what to do."""
