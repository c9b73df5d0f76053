"""Checkpoints that cannot be used: one sentence each."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from encoding import PICTURES, TEXTS, network, settings, texts, visual

from m3tr.errors import InputError
from m3tr.features.encoders import build


@pytest.mark.parametrize("modality", ["visual", "audio", "text"])
@pytest.mark.parametrize("name", ["no/such-checkpoint", "./nowhere", "???"])
def test_a_wrong_name_is_one_sentence(modality: str, name: str) -> None:
    with pytest.raises(InputError, match=f"params.yaml: features.{modality}.encoder") as caught:
        build(settings(**{modality: name}))
    assert "\n" not in str(caught.value) and "signal" in str(caught.value)


@pytest.mark.parametrize("modality, family", [
    ("visual", "bert"), ("visual", "ast"), ("audio", "vit"), ("audio", "bert"), ("text", "vit"),
    ("text", "wav2vec2"), ("visual", "naflex"), ("visual", "clap"), ("audio", "clip"),
])  # fmt: skip
def test_a_checkpoint_of_another_modality_is_refused(
    checkpoints: dict[str, str], modality: str, family: str
) -> None:
    with pytest.raises(InputError, match=f"features.{modality}.encoder") as caught:
        build(settings(**{modality: checkpoints[family]}))
    assert "\n" not in str(caught.value)


def test_another_modality_is_told_by_the_network_too(
    checkpoints: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(checkpoints["bert"], folder)
    processor = Path(checkpoints["vit"]) / "preprocessor_config.json"
    shutil.copy(processor, folder)
    with pytest.raises(InputError, match="BertModel reads input_ids"):
        build(settings(visual=str(folder)))


def copy(source: str, target: Path, without: str) -> str:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(without))
    return str(target)


@pytest.mark.parametrize("modality, family, file, said", [
    ("visual", "vit", "preprocessor_config.json", "no usable image processor"),
    ("audio", "wav2vec2", "preprocessor_config.json", "no usable feature extractor"),
    ("text", "xlmr", "token*", "no usable tokenizer"),
    ("text", "bert", "model.safetensors", "model.safetensors"),
])  # fmt: skip
def test_a_missing_file_is_named(
    checkpoints: dict[str, str], tmp_path: Path, modality: str, family: str, file: str, said: str
) -> None:
    name = copy(checkpoints[family], tmp_path / "x", file)
    with pytest.raises(InputError, match=said):
        build(settings(**{modality: name}))


def test_pickled_weights_are_not_read(checkpoints: dict[str, str], tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel

    name = copy(checkpoints["vit"], tmp_path / "x", "model.safetensors")
    model = AutoModel.from_pretrained(checkpoints["vit"])
    torch.save(model.state_dict(), tmp_path / "x/pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickled \(.bin\).*safetensors"):
        build(settings(visual=name))


def test_missing_layers_are_not_made_up(checkpoints: dict[str, str], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    name = copy(checkpoints["vit"], tmp_path / "x", "nothing")
    weights = load_file(tmp_path / "x/model.safetensors")
    kept = {key: value for key, value in weights.items() if ".1." not in key}
    save_file(kept, tmp_path / "x/model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="weights are missing"):
        build(settings(visual=name))


def test_an_unknown_step_of_a_sentence_encoder_is_refused(
    checkpoints: dict[str, str], tmp_path: Path
) -> None:
    name = copy(checkpoints["st_cls"], tmp_path / "x", "nothing")
    modules = tmp_path / "x/modules.json"
    modules.write_text(modules.read_text().replace('Pooling"}', 'LSTM"}'))
    with pytest.raises(InputError, match="asks for LSTM"):
        build(settings(text=name))


DENSE = "2_Dense/model.safetensors"


@pytest.mark.parametrize("file, content, said", [
    ("modules.json", b"{", "modules.json is damaged"),
    ("modules.json", b"\xff\xfe\xfa", "modules.json is damaged"),
    ("modules.json", b"[{}]", "modules.json, or a file of its steps"),
    ("modules.json", b"[1]", "modules.json, or a file of its steps"),
    ("modules.json", b'[{"type": 3}]', "modules.json, or a file of its steps"),
    ("modules.json", b"7", "modules.json, or a file of its steps"),
    ("sentence_bert_config.json", b"[4]", "modules.json, or a file of its steps"),
    ("sentence_bert_config.json", b'{"max_seq_length": "x"}', "modules.json, or a file of its"),
    ("config_sentence_transformers.json", b'{"prompts": 3}', "modules.json, or a file of its"),
    ("1_Pooling/config.json", b"", "1_Pooling/config.json is damaged"),
    ("1_Pooling/config.json", b'{"pooling_mode": 5}', "modules.json, or a file of its steps"),
    ("2_Dense/config.json", b'{"activation_function": null}', "modules.json, or a file of its"),
    (DENSE, b"", f"{DENSE} is damaged"),
    (DENSE, b"\x08" + bytes(30), f"{DENSE} is damaged"),
])  # fmt: skip
def test_damaged_files_of_a_sentence_encoder_are_told(
    checkpoints: dict[str, str], tmp_path: Path, file: str, content: bytes, said: str
) -> None:
    name = copy(checkpoints["st_dense"], tmp_path / "x", "nothing")
    (tmp_path / "x" / file).write_bytes(content)
    with pytest.raises(InputError, match=f"features.text.encoder.*{said}") as caught:
        build(settings(text=name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shapes, said", [
    ({"weight": (5, 16)}, "has no linear.weight"),
    ({"linear.weight": (5, 7), "linear.bias": (5,)}, "dense layers do not fit"),
    ({"linear.weight": (5, 16), "linear.bias": (4,)}, "dense layers do not fit"),
])  # fmt: skip
def test_dense_layers_that_do_not_fit_are_told(
    checkpoints: dict[str, str], tmp_path: Path, shapes: dict[str, tuple[int, ...]], said: str
) -> None:
    import torch
    from safetensors.torch import save_file

    name = copy(checkpoints["st_dense"], tmp_path / "x", "nothing")
    save_file({key: torch.ones(shape) for key, shape in shapes.items()}, tmp_path / "x" / DENSE)
    with pytest.raises(InputError, match=f"features.text.encoder.*{said}"):
        texts(name, TEXTS)


def test_a_device_that_is_not_there(
    checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="features.device is 'cuda'"):
        build(settings(visual=checkpoints["vit"], device="cuda"))
    build(settings(device="cuda"))  # no checkpoint: nobody asks


def test_a_checkpoint_that_nobody_needs_is_not_loaded() -> None:
    build(settings(visual="no/such-checkpoint"), visual=False)


def test_numbers_beyond_the_precision_are_told(
    checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = visual(checkpoints["vit"], precision="float16")
    layer = encoder.network.checkpoint.model.layernorm  # type: ignore[union-attr]
    layer.weight.fill_(60_000.0)
    with pytest.raises(InputError, match="features.precision"):
        network(encoder, [PICTURES])


def test_a_full_gpu_is_told(checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    encoder = visual(checkpoints["vit"])

    def full(**inputs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(encoder.network.checkpoint.model, "forward", full)  # type: ignore[union-attr]
    with pytest.raises(InputError, match="lower features.batch_size"):
        network(encoder, [PICTURES])


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "a/b/c"])
def test_a_path_that_leads_nowhere_is_told_as_one(name: str) -> None:
    with pytest.raises(InputError, match="no such folder"):
        build(settings(visual=name), audio=False, text=False)
