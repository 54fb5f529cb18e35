"""What a training would take: memory, time, disk, GPUs; presets and known models."""
