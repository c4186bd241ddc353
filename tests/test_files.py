"""Model files and image packs: rebuild bit for bit, have one sha256 per content, refuse what is not theirs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from groupshap.diffusion.config import ModelConfig
from groupshap.image_pack import ImagePack, load_pack, save_pack
from groupshap.model_file import ModelDescription, ModelFileError, load_model, read_description, save_model
from groupshap.pruning.channels import prune_channels
from groupshap.pruning.config import PruningConfig
from groupshap.store import sha256_of_file

DESCRIPTION = ModelDescription(ModelConfig(block_out_channels=(16, 32), norm_num_groups=4), (3, 8, 8))


def pruned_model():
    model, history, _ = prune_channels(DESCRIPTION.initialise(3), PruningConfig(fraction_removed=0.5))
    return model, ModelDescription(DESCRIPTION.config, DESCRIPTION.image_shape, history)


def test_a_pruned_model_is_rebuilt_from_its_file_alone(tmp_path):
    model, description = pruned_model()
    noisy, timesteps = torch.randn(2, 3, 8, 8), torch.tensor([3, 700])
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for file in files:
        save_model(file, model, description)
    loaded, again = load_model(files[0])
    assert again == description
    with torch.no_grad():
        assert torch.equal(model(noisy, timesteps).sample, loaded(noisy, timesteps).sample)
    assert sha256_of_file(files[0]) == sha256_of_file(files[1])
    assert read_description(files[0]) == description


def test_the_empty_coalitions_model_has_the_pruned_architecture_and_random_weights():
    model, description = pruned_model()
    first, same, other = (description.initialise(seed).state_dict() for seed in (1, 1, 2))
    assert {name: t.shape for name, t in first.items()} == {name: t.shape for name, t in model.state_dict().items()}
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_other_files_are_refused(tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    pickle = tmp_path / "model.bin"
    pickle.write_bytes(b"\x80\x04K\x01.")
    for file in (foreign, pickle, tmp_path / "absent.safetensors"):
        with pytest.raises(ModelFileError, match="no intact model file"):
            load_model(file)


def test_image_pack_gives_each_coalition_its_images(tmp_path):
    images = np.arange(6 * 3 * 2 * 2, dtype=np.uint8).reshape(6, 3, 2, 2)
    pack = ImagePack(images, np.array([0, 1, 2, 0, 1, 2]))
    save_pack(tmp_path / "a.safetensors", pack)
    save_pack(tmp_path / "b.safetensors", pack)
    loaded = load_pack(tmp_path / "a.safetensors")
    assert np.array_equal(loaded.of([0, 2]), images[[0, 3, 2, 5]])
    assert loaded.digest(0, "a") != loaded.digest(0, "b") != loaded.digest(1, "b")
    assert sha256_of_file(tmp_path / "a.safetensors") == sha256_of_file(tmp_path / "b.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="data_grouping"):
        load_pack(tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="players"):
        ImagePack(images, np.zeros(5, dtype=np.int64))
