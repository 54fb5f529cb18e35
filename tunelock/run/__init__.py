"""The ground floor, below every stage: start-up, params, errors, files, hashes, git."""

import atexit
import gc
import time

from tunelock.run.quiet import silence_known_noise

# Read before any stage code is: `tunelock.run.stage` refuses inputs that are younger than this.
STARTED = time.time()

# torch and transformers are thousands of modules: to look for garbage among them, while they are imported and again at
# the end, takes each start two seconds.
gc.set_threshold(100_000)
atexit.register(gc.freeze)

silence_known_noise()
