"""The stages of the DAG: one module each, run by DVC as `python -m stages.NAME`."""

import atexit
import gc
import logging
import time

# Read before any stage code is: `lib.stage` refuses inputs that are younger than this.
STARTED = time.time()

# torch and transformers are thousands of modules: to look for garbage among them, while they are imported and again at
# the end, takes each start two seconds.
gc.set_threshold(100_000)
atexit.register(gc.freeze)

# bitsandbytes warns, whenever PEFT imports it, of an optional kernel package that is not among our dependencies.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
