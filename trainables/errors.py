"""The one exception that means "the user asked for something impossible", and what is said of others."""


class InputError(ValueError):
    """Bad input, in one line: what is wrong, where, and what is allowed.

    The command line turns it into exit code 2 before any work starts; every other exception is a bug.
    """


def first_line(error: BaseException) -> str:
    """What an error says, in one line; "" where it says nothing."""
    return (str(error).strip().splitlines() or [""])[0]


class ContractError(InputError):
    """A function from outside does not do what was agreed: training more replicas of it is of no use."""
