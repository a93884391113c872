"""Networks along time for `stream_models.py`, of torchaudio and transformers, in a small form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from stream_case import Case, First
from torch import nn

# --- of torchaudio ----------------------------------------------------------------------------------------------------


def _torchaudio() -> Iterator[Case]:
    from torchaudio import models

    def pair(inner: nn.Module, lengths: int) -> nn.Module:
        return First(inner, lambda m, x: m(x, torch.full((1,), lengths))[0])

    yield Case(
        "ConvTasNet",
        "torchaudio",
        lambda: models.ConvTasNet(2, 16, 8, 3, 8, 16, 3, 2),
        (1, 1, 512),
        2,
        8000,
        known="1.53 s by the kernels of its masks, the whole signal by its norms",
    )
    yield Case("Wav2Letter, waveform", "torchaudio", lambda: models.Wav2Letter(8, "waveform"), (1, 1, 8000), 2, 16000)
    yield Case("DeepSpeech", "torchaudio", lambda: models.DeepSpeech(16, 8, 8), (1, 1, 64, 16), 2)
    yield Case("Conformer", "torchaudio", lambda: pair(models.Conformer(8, 2, 16, 1, 7), 64), (1, 64, 8), 1)
    yield Case("WaveRNN", "torchaudio", lambda: _wavernn(models), (1, 1, 9, 16), 2)
    yield Case(
        "HDemucs",
        "torchaudio",
        lambda: models.HDemucs(["a"], 1, 4),
        (1, 1, 16384),
        2,
        44100,
    )
    yield Case("SQUIM objective", "torchaudio", models.squim_objective_base, (1, 4000), 1, 16000)


def _wavernn(models: Any) -> nn.Module:
    inner = models.WaveRNN([2, 2], 4, 4, 1, 8, 8, 5, 16, 8, 8)
    return First(inner, lambda m, spec: m.upsample(spec.squeeze(1).transpose(1, 2))[0])


# --- of transformers --------------------------------------------------------------------------------------------------


def _transformers() -> Iterator[Case]:
    import transformers as t

    def audio(config: Any, model: Any, call: Callable[[Any, torch.Tensor], torch.Tensor]) -> Callable[[], nn.Module]:
        return lambda: First(model(config).eval(), call)

    ec = {"num_filters": 4, "hidden_size": 8, "codebook_dim": 8, "num_residual_layers": 1, "codebook_size": 8}
    yield Case(
        "Encodec, encoder 24 kHz",
        "transformers",
        audio(t.EncodecConfig(**ec), t.EncodecModel, lambda m, x: m.encoder(x)),
        (1, 1, 16000),
        2,
        24000,
        known="frame 0 reads 0..2239 through its reflect padding",
    )
    yield Case(
        "Encodec, decoder 24 kHz",
        "transformers",
        audio(t.EncodecConfig(**ec), t.EncodecModel, lambda m, x: m.decoder(x)),
        (1, 8, 40),
        2,
    )
    yield Case(
        "Encodec, encoder, not causal, normalised",
        "transformers",
        audio(
            t.EncodecConfig(**ec, use_causal_conv=False, norm_type="time_group_norm"),
            t.EncodecModel,
            lambda m, x: m.encoder(x),
        ),
        (1, 1, 16000),
        2,
        48000,
    )
    yield Case(
        "DAC, encoder",
        "transformers",
        audio(
            t.DacConfig(encoder_hidden_size=4, decoder_hidden_size=32, hidden_size=64),
            t.DacModel,
            lambda m, x: m.encoder(x),
        ),
        (1, 1, 16384),
        2,
        16000,
    )
    yield Case(
        "DAC, decoder",
        "transformers",
        audio(
            t.DacConfig(encoder_hidden_size=4, decoder_hidden_size=64, hidden_size=64),
            t.DacModel,
            lambda m, x: m.decoder(x),
        ),
        (1, 64, 24),
        2,
    )
    mimi = {
        "num_filters": 4,
        "hidden_size": 16,
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 16,
        "codebook_size": 8,
        "sliding_window": 6,
        "upsample_groups": 16,
    }
    yield Case(
        "Mimi, encoder with its transformer of 6 frames",
        "transformers",
        audio(t.MimiConfig(**mimi), t.MimiModel, lambda m, x: m.encoder(x)[0]),
        (1, 1, 19200),
        2,
        24000,
    )
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    conv = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    for name, config, model in (
        ("Wav2Vec2", "Wav2Vec2Config", "Wav2Vec2Model"),
        ("HuBERT", "HubertConfig", "HubertModel"),
        ("UniSpeech", "UniSpeechConfig", "UniSpeechModel"),
        ("WavLM", "WavLMConfig", "WavLMModel"),
        ("Data2VecAudio", "Data2VecAudioConfig", "Data2VecAudioModel"),
    ):
        made = getattr(t, config)(**small, **conv)
        yield Case(
            f"{name}, feature extractor",
            "transformers",
            audio(made, getattr(t, model), lambda m, x: m.feature_extractor(x)),
            (1, 8000),
            1,
            16000,
            known="400 by its kernels, the whole signal by its norm" if name == "Wav2Vec2" else "",
        )
    yield Case(
        "Wav2Vec2, whole",
        "transformers",
        audio(t.Wav2Vec2Config(**small, **conv), t.Wav2Vec2Model, lambda m, x: m(x)[0]),
        (1, 8000),
        1,
        16000,
    )
    yield Case(
        "Wav2Vec2, extractor with layer norm",
        "transformers",
        audio(
            t.Wav2Vec2Config(**small, **conv, feat_extract_norm="layer"),
            t.Wav2Vec2Model,
            lambda m, x: m.feature_extractor(x),
        ),
        (1, 8000),
        1,
        16000,
        known="400, 25 ms, every 320",
    )
    yield Case(
        "SEW, feature extractor",
        "transformers",
        audio(
            t.SEWConfig(**small, conv_dim=(8,) * 13, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2),
            t.SEWModel,
            lambda m, x: m.feature_extractor(x),
        ),
        (1, 8000),
        1,
        16000,
    )
    whisper = {
        "d_model": 8,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "vocab_size": 32,
        "num_mel_bins": 8,
        "max_source_positions": 64,
        "max_target_positions": 32,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    }
    yield Case(
        "Whisper, encoder",
        "transformers",
        audio(t.WhisperConfig(**whisper), t.WhisperModel, lambda m, x: m.encoder(x)[0]),
        (1, 8, 128),
        2,
        100,
    )
    yield Case(
        "Whisper, decoder over tokens",
        "transformers",
        audio(
            t.WhisperConfig(**whisper),
            t.WhisperModel,
            lambda m, x: m.decoder(
                inputs_embeds=x, encoder_hidden_states=torch.ones(1, 4, 8, dtype=x.dtype), use_cache=False
            )[0],
        ),
        (1, 24, 8),
        1,
    )
    mamba = {"hidden_size": 8, "num_hidden_layers": 1, "state_size": 4, "vocab_size": 16}
    yield Case(
        "Mamba",
        "transformers",
        audio(t.MambaConfig(**mamba), t.MambaModel, lambda m, x: m(inputs_embeds=x, use_cache=False)[0]),
        (1, 24, 8),
        1,
    )
    yield Case(
        "Mamba2, chunks of 8",
        "transformers",
        audio(
            t.Mamba2Config(**mamba, num_heads=4, head_dim=4, n_groups=1, chunk_size=8),
            t.Mamba2Model,
            lambda m, x: m(inputs_embeds=x, use_cache=False)[0],
        ),
        (1, 24, 8),
        1,
    )
    llama = {**small, "vocab_size": 16, "num_key_value_heads": 2}
    for name, config, model, more in (
        ("Llama", "LlamaConfig", "LlamaModel", {}),
        ("Mistral, window of 6", "MistralConfig", "MistralModel", {"sliding_window": 6}),
        ("GPT-2", "GPT2Config", "GPT2Model", None),
    ):
        made = (
            getattr(t, config)(**llama, **more)
            if more is not None
            else t.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=16, n_positions=64)
        )
        yield Case(
            name,
            "transformers",
            audio(made, getattr(t, model), lambda m, x: m(inputs_embeds=x, use_cache=False)[0]),
            (1, 24, 8),
            1,
        )
    for name, config, model, more in (
        ("RWKV", "RwkvConfig", "RwkvModel", {"num_hidden_layers": 2, "intermediate_size": 16}),
        ("FalconMamba", "FalconMambaConfig", "FalconMambaModel", {"state_size": 4}),
        (
            *("RecurrentGemma, attention to 6", "RecurrentGemmaConfig", "RecurrentGemmaModel"),
            {"attention_window_size": 6, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16},
        ),
    ):
        made = getattr(t, config)(**{"hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 16, **more})
        yield Case(
            name,
            "transformers",
            audio(made, getattr(t, model), lambda m, x: m(inputs_embeds=x, use_cache=False)[0]),
            (1, 24, 8),
            1,
        )
    moonshine = {
        "hidden_size": 8, "intermediate_size": 16, "encoder_num_hidden_layers": 1, "decoder_num_hidden_layers": 1,
        "encoder_num_attention_heads": 2, "decoder_num_attention_heads": 2, "vocab_size": 16,
    }  # fmt: skip
    yield Case(
        "Moonshine, encoder",
        "transformers",
        audio(t.MoonshineConfig(**moonshine), t.MoonshineModel, lambda m, x: m.encoder(x)[0]),
        (1, 8000),
        1,
        16000,
    )
    parakeet = {**small, "num_mel_bins": 16, "subsampling_conv_channels": 4}
    yield Case(
        "Parakeet, encoder",
        "transformers",
        audio(t.ParakeetEncoderConfig(**parakeet), t.ParakeetEncoder, lambda m, x: m(x)[0]),
        (1, 128, 16),
        1,
        100,
    )
    yield Case(
        "Parakeet, subsampling",
        "transformers",
        audio(t.ParakeetEncoderConfig(**parakeet), t.ParakeetEncoder, lambda m, x: m.subsampling(x)),
        (1, 256, 16),
        1,
        100,
    )
    yield Case(
        "PatchTSMixer",
        "transformers",
        audio(
            t.PatchTSMixerConfig(context_length=64, num_input_channels=2, num_layers=1, scaling=None),
            t.PatchTSMixerModel,
            lambda m, x: m(x)[0],
        ),
        (1, 64, 2),
        1,
    )
    yield Case(
        "SpeechT5, HiFi-GAN",
        "transformers",
        audio(
            t.SpeechT5HifiGanConfig(model_in_dim=8, upsample_initial_channel=16),
            t.SpeechT5HifiGan,
            lambda m, x: m(x),
        ),
        (1, 48, 8),
        1,
    )
    yield Case(
        "VITS, HiFi-GAN decoder",
        "transformers",
        audio(
            t.VitsConfig(hidden_size=8, upsample_initial_channel=16, flow_size=8, spectrogram_bins=9),
            t.VitsModel,
            lambda m, x: m.decoder(x),
        ),
        (1, 8, 24),
        2,
    )
    yield Case(
        "PatchTST",
        "transformers",
        audio(
            t.PatchTSTConfig(
                num_input_channels=2,
                context_length=64,
                patch_length=8,
                patch_stride=8,
                d_model=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                ffn_dim=16,
                scaling=None,
            ),
            t.PatchTSTModel,
            lambda m, x: m(past_values=x).last_hidden_state,
        ),
        (1, 64, 2),
        1,
    )


# --- of diffusers -----------------------------------------------------------------------------------------------------


def _diffusers() -> Iterator[Case]:
    import diffusers as d

    oobleck = {
        "encoder_hidden_size": 4, "downsampling_ratios": [2, 4, 4], "channel_multiples": [1, 2, 2],
        "decoder_channels": 4, "decoder_input_channels": 8, "audio_channels": 1, "sampling_rate": 44100,
    }  # fmt: skip
    yield Case(
        "Oobleck, encoder",
        "diffusers",
        lambda: First(d.AutoencoderOobleck(**oobleck), lambda m, x: m.encoder(x)),
        (1, 1, 4096),
        2,
        44100,
    )
    yield Case(
        "Oobleck, decoder",
        "diffusers",
        lambda: First(d.AutoencoderOobleck(**oobleck), lambda m, x: m.decoder(x)),
        (1, 8, 48),
        2,
    )
    cogvideo = {
        "down_block_types": ("CogVideoXDownBlock3D",) * 2, "up_block_types": ("CogVideoXUpBlock3D",) * 2,
        "block_out_channels": (4, 4), "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2,
        "temporal_compression_ratio": 2,
    }  # fmt: skip
    yield Case(
        "CogVideoX, encoder of 9 frames",
        "diffusers",
        lambda: First(d.AutoencoderKLCogVideoX(**cogvideo), lambda m, x: m.encoder(x)[0]),
        (1, 3, 9, 8, 8),
        2,
        align="end",
    )
    wan = {
        "base_dim": 4, "z_dim": 4, "dim_mult": [1, 1], "num_res_blocks": 1, "temperal_downsample": [True],
        "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4,
    }  # fmt: skip
    yield Case(
        "Wan, encoder in chunks of 4 frames",
        "diffusers",
        lambda: First(d.AutoencoderKLWan(**wan), lambda m, x: m.encode(x).latent_dist.mean),
        (1, 3, 41, 2, 2),
        2,
        align="end",
    )


def cases() -> Iterator[Case]:
    """All of them; those of a package that is not there are left out."""
    for package in (_torchaudio, _transformers, _diffusers):
        try:
            yield from list(package())
        except ImportError:
            continue
