"""The base model comes from a wheel, a folder, a GGUF file or a hub commit, and nothing unpinned gets in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stages.base import locate, resolve
from stages.lib.errors import Stop
from stages.lib.hashing import sha256_path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parent.parent


def test_a_local_folder_becomes_the_same_model(tiny_model, tmp_path):
    from stages.lib.modeling import load_model

    resolve(locate(str(tiny_model), sha256_path(tiny_model), tmp_path), tmp_path / "base", "bfloat16")
    pairs = zip(
        load_model(tiny_model, "bfloat16").state_dict().items(), load_model(tmp_path / "base", "bfloat16").parameters()
    )
    assert all(torch.equal(tensor, other) for (_, tensor), other in pairs)


def test_a_folder_whose_content_differs_from_its_pin_stops(tiny_model, tmp_path):
    with pytest.raises(Stop, match=r"params\.yaml pins 0000"):
        locate(str(tiny_model), "0" * 64, tmp_path)


@pytest.mark.parametrize("revision", ["main", "0" * 64, COMMIT[:7]])
def test_a_hub_model_without_a_whole_commit_stops(revision, tmp_path):
    with pytest.raises(Stop, match="40-digit commit"):
        locate("org/model", revision, tmp_path)


def test_a_hub_model_is_read_from_the_hubs_cache_layout(tiny_model, tmp_path):
    """Offline, through the real loading code: the hub's cache holds the tiny model and a pickle beside it."""
    snapshot = tmp_path / "hub" / "models--org--model" / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    (snapshot.parent.parent / "refs").mkdir()
    os.symlink(tiny_model, snapshot)
    code = (
        f"from stages.base import locate; from pathlib import Path; print(locate('org/model', '{COMMIT}', Path('.')))"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == snapshot
    absent = code.replace(COMMIT, COMMIT[::-1])
    done = subprocess.run([sys.executable, "-c", absent], env=env, capture_output=True, text=True, check=False)
    assert "go online once" in done.stderr


def test_a_folder_without_safetensors_stops(tiny_model, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text((tiny_model / "config.json").read_text())
    with pytest.raises(Stop, match="holds no model"):
        resolve(tmp_path / "empty", tmp_path / "base", "bfloat16")


def test_the_real_gguf_is_dequantised_into_a_plain_folder(real_gguf, tmp_path):
    resolve(real_gguf, tmp_path / "base", "bfloat16")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    assert "quantization_config" not in config
    assert (config["model_type"], config["hidden_size"], config["num_hidden_layers"]) == ("llama", 576, 30)
    assert (tmp_path / "base" / "model.safetensors").stat().st_size == pytest.approx(134_515_008 * 2, rel=1e-3)
    assert not any(str(tmp_path) in path.read_text() for path in (tmp_path / "base").glob("*.json"))
