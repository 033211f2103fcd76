"""The one exception that is meant for a person."""


class CpgError(Exception):
    """A mistake the user can mend; the message names the field, file or task, what was expected and what to do.

    The command line prints the message alone and exits with 2. Anything else that is raised is a fault of ours.
    """
