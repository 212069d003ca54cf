"""``python -m modelfs``: the same as the ``modelfs`` command."""

from modelfs.cli import main

if __name__ == "__main__":
    main()
