"""No tracker: transformers and TRL look for `wandb.run`, and find that it is not there."""
