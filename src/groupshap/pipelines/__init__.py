"""The stages as Kedro pipelines: thin nodes over ``campaign`` and the domain packages."""
