"""One thread per test process: torch's default, one per core in each of two processes, is several times slower."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
