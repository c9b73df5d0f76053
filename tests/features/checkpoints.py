"""Tiny checkpoints of every family, written as an owner would: model and what prepares input."""

import json
from pathlib import Path
from typing import Any

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
PICTURE = {"image_size": 32, "patch_size": 8}
SQUARE = {"height": 32, "width": 32}
SHORT = {"size": {"shortest_edge": 32}, "crop_size": SQUARE}
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # where RoBERTa and kin have them
WORDS = ["cat", "dog", "run", "running", "the", "a", "dogs", "cats", "and", "query:"]


def make(root: Path) -> None:
    """Write all of them below `root`, one folder each."""
    import torch
    import transformers as tf

    torch.manual_seed(0)

    def keep(name: str, *parts: Any) -> None:
        for part in parts:
            part.save_pretrained(root / name)

    keep("vit", tf.ViTModel(tf.ViTConfig(**SMALL, **PICTURE)), tf.ViTImageProcessor(size=SQUARE))
    keep("dinov2", tf.Dinov2Model(tf.Dinov2Config(**SMALL, **PICTURE)),
         tf.BitImageProcessor(**SHORT))  # fmt: skip
    stages = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1]}
    keep("resnet", tf.ResNetModel(tf.ResNetConfig(**stages, layer_type="basic")),
         tf.ConvNextImageProcessor(size={"shortest_edge": 32}))  # fmt: skip
    clip = tf.VideoMAEConfig(**SMALL, **PICTURE, num_frames=4, tubelet_size=2)
    keep("videomae", tf.VideoMAEModel(clip), tf.VideoMAEImageProcessor(**SHORT))
    _two_towers(keep, tf)
    _sound(keep, tf)
    _words(root, keep, tf)


def tokenizer(length: int = 16, **options: Any) -> Any:
    """A tokenizer of whole words between <s> and </s>."""
    import tokenizers as tk
    import transformers as tf

    words = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    core = tk.Tokenizer(tk.models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = tk.pre_tokenizers.WhitespaceSplit()
    core.post_processor = tk.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        pad_token="<pad>", cls_token="<s>", sep_token="</s>", model_max_length=length, **options,
    )  # fmt: skip


def _two_towers(keep: Any, tf: Any) -> None:
    words = {**SMALL, "vocab_size": 15, "max_position_embeddings": 12, "projection_dim": 10}
    ends = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    clip = tf.CLIPConfig(
        text_config={**words, **ends},
        vision_config={**SMALL, **PICTURE, "projection_dim": 10},
        projection_dim=10,
    )
    keep("clip", tf.CLIPModel(clip), tf.CLIPImageProcessor(**SHORT), tokenizer(12))
    siglip = tf.SiglipConfig(
        text_config={**SMALL, **ends, "vocab_size": 15, "max_position_embeddings": 12},
        vision_config={**SMALL, **PICTURE},
    )
    keep("siglip", tf.SiglipModel(siglip), tf.SiglipImageProcessor(size=SQUARE), tokenizer(12))
    naflex = tf.Siglip2Config(
        text_config={**SMALL, "vocab_size": 15}, vision_config={**SMALL, "num_patches": 16}
    )
    keep("naflex", tf.Siglip2Model(naflex), tf.Siglip2ImageProcessorPil(patch_size=16))
    audio = {"hidden_size": 32, "patch_embeds_hidden_size": 8, "depths": [1, 1],
             "num_attention_heads": [2, 2], "num_mel_bins": 16, "spec_size": 64, "window_size": 4,
             "num_classes": 4, "projection_dim": 10}  # fmt: skip
    audio["hidden_size"] = 16  # the last stage: 8 x 2
    text = {**SMALL, "vocab_size": 15, "max_position_embeddings": 16, "projection_dim": 10}
    extractor = {"feature_size": 16, "sampling_rate": 48_000, "max_length_s": 1}
    for name, fused in (("clap", False), ("clap_fused", True)):
        told = tf.ClapConfig(
            audio_config={**audio, "enable_fusion": fused}, text_config=text, projection_dim=10
        )
        cut = "fusion" if fused else "rand_trunc"
        keep(name, tf.ClapModel(told), tf.ClapFeatureExtractor(**extractor, truncation=cut),
             tokenizer(12))  # fmt: skip


def _sound(keep: Any, tf: Any) -> None:
    keep("ast", tf.ASTModel(tf.ASTConfig(**SMALL, max_length=64, num_mel_bins=16)),
         tf.ASTFeatureExtractor(max_length=64, num_mel_bins=16))  # fmt: skip
    convolution = {"conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 8),
                   "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4,
                   "num_conv_pos_embedding_groups": 2}  # fmt: skip
    # of the two kinds of normalisation, "group" may see no mask
    keep("wav2vec2", tf.Wav2Vec2Model(tf.Wav2Vec2Config(**SMALL, **convolution)),
         tf.Wav2Vec2FeatureExtractor())  # fmt: skip
    layers = {**convolution, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
    keep("hubert", tf.HubertModel(tf.HubertConfig(**SMALL, **layers)),
         tf.Wav2Vec2FeatureExtractor(return_attention_mask=True))  # fmt: skip
    size = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}  # fmt: skip
    ends = {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1}
    whisper = tf.WhisperConfig(**size, **ends, vocab_size=20, num_mel_bins=16,
                               max_source_positions=50)  # fmt: skip
    keep("whisper", tf.WhisperModel(whisper),
         tf.WhisperFeatureExtractor(feature_size=16, chunk_length=1))  # fmt: skip


def _words(root: Path, keep: Any, tf: Any) -> None:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##ning", "##s"]
    (root / "vocab.txt").write_text("\n".join(vocabulary))
    bert = tf.BertModel(
        tf.BertConfig(**SMALL, vocab_size=len(vocabulary), max_position_embeddings=16)
    )
    keep("bert", bert, tf.BertTokenizer(str(root / "vocab.txt")))
    roberta = tf.XLMRobertaModel(
        tf.XLMRobertaConfig(**SMALL, vocab_size=15, max_position_embeddings=14, pad_token_id=1,
                            bos_token_id=0, eos_token_id=2)
    )  # fmt: skip
    keep("xlmr", roberta, tokenizer(10**30))
    ends = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    t5 = tf.T5Config(vocab_size=15, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, **ends,
                     decoder_start_token_id=1)  # fmt: skip
    keep("t5", tf.T5Model(t5), tokenizer(12))
    steps = {
        "st_mean": ["Transformer", "Pooling", "Normalize"],
        "st_cls": ["Transformer", "Pooling"],
        "st_max": ["Transformer", "Pooling"],
        "st_last": ["Transformer", "Pooling"],
        "st_dense": ["Transformer", "Pooling", "Dense", "Normalize"],
    }
    for name, kinds in steps.items():
        keep(name, bert, tf.BertTokenizer(str(root / "vocab.txt")))
        _sentence(root / name, name.removeprefix("st_"), kinds)


def _sentence(folder: Path, mode: str, kinds: list[str]) -> None:
    """The files that make a folder one of sentence-transformers."""
    import torch
    from safetensors.torch import save_file

    modules = []
    for i, kind in enumerate(kinds):
        path = f"{i}_{kind}" if i else ""
        (folder / path).mkdir(exist_ok=True)
        modules.append({"idx": i, "name": str(i), "path": path,
                        "type": f"sentence_transformers.models.{kind}"})  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 6}')
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": None}
    if mode == "max":
        prompts["default_prompt_name"] = "query"
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    flags = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken",
             "dense": "mean_tokens"}  # fmt: skip
    config = {f"pooling_mode_{flag}": flag == flags[mode] for flag in flags.values()}
    (folder / "1_Pooling/config.json").write_text(
        json.dumps({"word_embedding_dimension": 16, **config})
    )
    if "Dense" in kinds:
        told = {"in_features": 16, "out_features": 5, "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh"}  # fmt: skip
        (folder / "2_Dense/config.json").write_text(json.dumps(told))
        weights = {"linear.weight": torch.randn(5, 16), "linear.bias": torch.randn(5)}
        save_file(weights, folder / "2_Dense/model.safetensors")
