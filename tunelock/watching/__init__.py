"""Who looks on and writes to no out: progress, trackers, the doctor, the forecast of memory. In no stage's deps."""
