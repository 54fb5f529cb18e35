"""The stages of the DAG: one module each, run by DVC as `python -m stages.NAME`."""

import tunelock.run  # noqa: F401 (what starts the clock and spares the start goes before all other imports)
