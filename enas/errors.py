"""The one exception that is meant for the user and not for a debugger."""


class UserError(Exception):
    """Something that came from outside is wrong: an option, a file, a folder, a checkpoint.

    The message is one line and says what must hold, what was given and what to do.
    The command line prints it without a traceback and exits with code 2.
    """
