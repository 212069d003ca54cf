"""The benchmark: each row of the table of what must hold, measured by one command. See ``docs/benchmarks.md``.

Law: what is compared runs side by side, in paired rounds that take turns, each with a fresh mount: what a busy machine
does to one it does to the other. Only medians and ratios are told. Nothing here asserts a time; ``__main__`` tells by
its exit status whether the bars hold.
"""
