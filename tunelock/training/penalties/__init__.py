"""What a step of training pays for leaving the base model."""
