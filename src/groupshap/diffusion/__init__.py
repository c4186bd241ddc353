"""Diffusion models behind one protocol, one training loop, one sampler; networks and schedulers are diffusers'.

Importing this package imports nothing heavy; ``config`` is free of torch, the other modules are not.
"""
