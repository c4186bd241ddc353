"""Global properties: one number for the distribution that a model generates, measured on its images.

``config.PropertiesConfig`` names them; ``base`` builds, fits and measures them. A user's own property is a small class,
see :class:`groupshap.properties.base.Property`. Importing this package imports nothing heavy.
"""
