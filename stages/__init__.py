"""The stages of the DAG: one module each, run by DVC as `python -m stages.NAME`."""

import logging
import time

# Read before any stage code is: `lib.stage` refuses inputs that are younger than this.
STARTED = time.time()

# bitsandbytes warns, whenever PEFT imports it, of an optional kernel package that is not among our dependencies.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
