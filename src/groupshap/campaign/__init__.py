"""The driver's part of a run: what has to be computed, where it is kept, what is already there.

Nodes call these functions; workers run the functions of ``tasks``. Everything computed goes through a store under the
fingerprint of all that its numbers depend on, so any of these calls, repeated after a kill, goes on where it stopped.
"""
