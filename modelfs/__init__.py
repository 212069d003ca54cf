"""modelfs: a cloud model repository as a local, read-only tree."""

__version__ = "0.1.0"
