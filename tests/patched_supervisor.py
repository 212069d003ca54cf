"""The supervisor as it is elsewhere: options stand before its own.

NAME=SECONDS is another bound of ``modelfs.lives``, whose own take minutes; "before-6.9" has every kernel be one that
cannot send requests again.
"""

import sys

from modelfs import fuse_protocol, lives, supervisor

own = []
for argument in sys.argv[1:]:
    name, separator, value = argument.partition("=")
    if separator and hasattr(lives, name):
        setattr(lives, name, float(value))
    elif argument == "before-6.9":
        fuse_protocol.can_resend = lambda init: False  # noqa: ARG005  its name
    else:
        own.append(argument)
if __name__ == "__main__":
    sys.exit(supervisor.main(own))
