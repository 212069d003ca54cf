"""Acceptance runs of the cache on disk. See ``__main__`` for their names."""
