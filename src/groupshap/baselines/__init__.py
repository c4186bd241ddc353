"""Other ways to credit contributors, to be compared with Shapley values on the same run.

Pure functions in ``aggregation``, ``similarity``, ``influence``, ``projection``, ``gradients`` and ``proxy_game``;
``survey`` composes them with the model, the images and the utilities of a run. Importing this package imports nothing
heavy; ``config`` is free of torch.
"""
