"""The one exception that means "the user asked for something impossible"."""


class InputError(ValueError):
    """Bad input, in one line: what is wrong, where, and what is allowed.

    The command line turns it into exit code 2 before any work starts; every other exception is a bug.
    """


class ContractError(InputError):
    """A function from outside does not do what was agreed: training more replicas of it is of no use."""
