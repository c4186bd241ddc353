"""What a worker runs: a job dict in, a committed result and a small record out. Never kedro, never mlflow.

``config`` is free of torch; the other modules import it, so nodes import them only inside their functions.
"""
