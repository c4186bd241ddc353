"""The six stages as Kedro pipelines: thin nodes over ``campaign``, ``grouping`` and ``attribution``."""
