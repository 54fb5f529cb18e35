"""The stages of the DAG: one module each, run by DVC as `python -m stages.NAME`."""

import time

# Read before any stage code is: `lib.stage` refuses inputs that are younger than this.
STARTED = time.time()
