"""groupshap: fair credit for the people whose images train a diffusion model."""

__version__ = "0.1.0"
