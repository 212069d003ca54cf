"""Acceptance runs: a real tritonserver on a mount, for minutes or hours, judged by a model of what should happen.

Each is a script that a person runs (``tests/soak/*.sh``); a short variant of each stands among the tests.
"""
