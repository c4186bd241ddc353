"""Structural pruning: smaller copies of a trained U-Net, and the plain-data history that rebuilds their architecture.

``channels.prune_channels(model, config, gradients)`` prunes, ``channels.replay_history(fresh_model, history)`` rebuilds
the architecture. Importing this package imports nothing heavy.
"""
