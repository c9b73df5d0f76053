"""The one exception a user's mistake may raise."""


class InputError(ValueError):
    """A mistake in the input, told in one sentence: which file, which row, and the remedy.

    The command line prints the sentence without a stack trace and exits with status 1.
    """
