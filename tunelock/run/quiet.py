"""What libraries say that no user can mend or needs to read. One line for each, by its name; all else is shown."""

import logging
import os
import warnings


def silence_known_noise() -> None:
    """Call it before any of these libraries is imported. The user's own environment variables stay as they are."""
    # PEFT 0.21.2 and TRL 1.16.0 read this property, whose name transformers has changed.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    # bitsandbytes warns, whenever PEFT imports it, of an optional kernel package that is not among our dependencies.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # The bars of transformers (loading, de-quantising, saving), of the hub and of others that use tqdm. Our own bars,
    # `tunelock.run.bars`, are shown all the same.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
