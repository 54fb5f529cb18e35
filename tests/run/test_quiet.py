"""What libraries say that nobody needs is not shown; what somebody should see is."""

import os
import subprocess
import sys

from tests.walls import ROOT


def said(code: str, **env: str) -> str:
    """What a process that imports tunelock.run first writes to stderr."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"} | env
    done = subprocess.run(
        [sys.executable, "-c", f"import tunelock.run\nimport logging, os, sys, warnings\n{code}"],
        cwd=ROOT, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stderr


def test_known_noise_is_not_shown():
    assert said("warnings.warn('`is_gradient_checkpointing` is deprecated and will go', FutureWarning)") == ""
    assert said("logging.getLogger('bitsandbytes.nn').warning('install kernels')") == ""


def test_every_other_warning_is_shown():
    assert "UserWarning: the disk is nearly full" in said("warnings.warn('the disk is nearly full')")
    assert "FutureWarning: `other` is deprecated" in said("warnings.warn('`other` is deprecated', FutureWarning)")
    assert "`is_gradient_checkpointing` is wrong" in said("warnings.warn('`is_gradient_checkpointing` is wrong')")
    assert "weights are missing" in said("logging.getLogger('transformers').warning('weights are missing')")
    assert "no CUDA" in said("logging.getLogger('bitsandbytes').error('no CUDA')")


def test_bars_of_libraries_are_not_shown_and_ours_are():
    assert said("from tqdm.auto import tqdm\nlist(tqdm(range(3), desc='theirs'))") == ""
    ours = "from tunelock.run import bars\nbars.LOG_INTERVAL = 1e-9\nlist(bars.Bar(range(3), desc='ours', unit='row'))"
    assert "ours: 3 of 3 rows (100%)" in said(ours)


def test_the_user_can_have_the_bars_of_the_hub():
    code = "print(os.environ['HF_HUB_DISABLE_PROGRESS_BARS'], file=sys.stderr)"
    assert said(code) == "1\n"
    assert said(code, HF_HUB_DISABLE_PROGRESS_BARS="0") == "0\n"
