"""The loop: trainer, batches, checkpoints, optimiser, freezing."""
