"""Networks along time for `stream_models.py`: of public packages in a small form, and written as their papers say.

Each is a name, what it is, a function that makes it, its input, and the axis that is time. Sizes are small, and what
decides how far a unit looks (kernels, strides, dilations, paddings, masks, norms) is that of the package or the paper.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One network. ``inputs`` is a shape with batch, or tensors by name; ``known`` what a paper or a code says."""

    name: str
    source: str
    make: Callable[[], nn.Module]
    inputs: Any
    axis: int
    rate: int | None = None
    stream: str | None = None
    known: str = ""
    tokens: int = 0  #: the input holds numbers of tokens below this
    options: dict[str, Any] = field(default_factory=dict)


class First(nn.Module):
    """A model of which only one part of the result, or one method, is looked at."""

    def __init__(self, inner: nn.Module, call: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.call = call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(self.inner, x)


# --- written as papers say --------------------------------------------------------------------------------------------


class Tcn(nn.Module):
    """Bai, Kolter and Koltun, 2018, section 3: residual blocks of two dilated causal convolutions, chomped."""

    def __init__(self, kernel: int = 3, dilations: tuple[int, ...] = (1, 2, 4, 8), causal: bool = True) -> None:
        super().__init__()
        self.pads = [(kernel - 1) * d for d in dilations]
        self.causal = causal
        self.one = nn.ModuleList([self._conv(1 if n == 0 else 8, kernel, d) for n, d in enumerate(dilations)])
        self.two = nn.ModuleList([self._conv(8, kernel, d) for d in dilations])
        self.skip = nn.ModuleList([nn.Conv1d(1 if n == 0 else 8, 8, 1) for n in range(len(dilations))])

    def _conv(self, channels: int, kernel: int, dilation: int) -> nn.Conv1d:
        pad = (kernel - 1) * dilation
        return nn.Conv1d(channels, 8, kernel, dilation=dilation, padding=pad if self.causal else pad // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for pad, one, two, skip in zip(self.pads, self.one, self.two, self.skip, strict=True):
            y = x
            for conv in (one, two):
                y = conv(y)
                y = F.relu(y[..., :-pad] if self.causal else y)
            x = F.relu(y + skip(x))
        return x


class WaveNet(nn.Module):
    """van den Oord et al., 2016: gated dilated causal convolutions with kernels of 2, dilations 1 to 2**(depth - 1)."""

    def __init__(self, depth: int = 6, rounds: int = 2) -> None:
        super().__init__()
        self.start = nn.Conv1d(1, 8, 2)
        self.dilations = [2**n for n in range(depth)] * rounds
        self.gated = nn.ModuleList([nn.Conv1d(8, 16, 2, dilation=d) for d in self.dilations])
        self.out = nn.ModuleList([nn.Conv1d(8, 8, 1) for _ in self.dilations])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(F.pad(x, (1, 0)))
        total = torch.zeros_like(x)
        for dilation, gated, out in zip(self.dilations, self.gated, self.out, strict=True):
            a, b = gated(F.pad(x, (dilation, 0))).chunk(2, 1)
            y = out(a.tanh() * b.sigmoid())
            total, x = total + y, x + y
        return total


class CumulativeNorm(nn.Module):
    """Luo and Mesgarani, 2019, section II-C: statistics of what came so far."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype) * x.shape[1]
        mean = x.sum(1, keepdim=True).cumsum(-1) / count
        square = x.pow(2).sum(1, keepdim=True).cumsum(-1) / count
        return (x - mean) / (square - mean.pow(2) + 1e-3).sqrt()


class ConvTasNet(nn.Module):
    """Luo and Mesgarani, 2019: an encoder with L = 16 and hop 8, a masking TCN, a decoder by overlap-add.

    Causal: cumulative norms, and all padding before; the paper's latency is L, 2 ms at 8 kHz.
    """

    def __init__(self, causal: bool, blocks: int = 4) -> None:
        super().__init__()
        self.enc = nn.Conv1d(1, 8, 16, 8, bias=False)
        self.norm = CumulativeNorm() if causal else nn.GroupNorm(1, 8)
        self.causal = causal
        self.dilations = [2**n for n in range(blocks)]
        self.deep = nn.ModuleList([nn.Conv1d(8, 8, 3, dilation=d, groups=8) for d in self.dilations])
        self.norms = nn.ModuleList([CumulativeNorm() if causal else nn.GroupNorm(1, 8) for _ in self.dilations])
        self.point = nn.ModuleList([nn.Conv1d(8, 8, 1) for _ in self.dilations])
        self.dec = nn.ConvTranspose1d(8, 1, 16, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code = self.enc(x)
        y = self.norm(code)
        for dilation, deep, norm, point in zip(self.dilations, self.deep, self.norms, self.point, strict=True):
            pad = (2 * dilation, 0) if self.causal else (dilation, dilation)
            y = y + point(norm(F.relu(deep(F.pad(y, pad)))))
        return self.dec(code * y.sigmoid())


class Demucs(nn.Module):
    """Defossez, Synnaeve and Adi, 2020: five levels of kernels of 8 with stride 4, an LSTM, skips; 4 times upsampled.

    By the paper causal with a frame of 37 ms at 16 kHz. ``resample`` repeats and averages in place of the sinc filters.
    """

    def __init__(self, depth: int = 5, resample: int = 4) -> None:
        super().__init__()
        sizes = [1, *[2 + n for n in range(depth)]]
        self.enc = nn.ModuleList([nn.Conv1d(a, b, 8, 4) for a, b in itertools.pairwise(sizes)])
        self.mix = nn.ModuleList([nn.Conv1d(b, 2 * b, 1) for b in sizes[1:]])
        self.rnn = nn.LSTM(sizes[-1], sizes[-1], 2)
        self.unmix = nn.ModuleList([nn.Conv1d(b, 2 * b, 1) for b in sizes[1:]])
        self.dec = nn.ModuleList([nn.ConvTranspose1d(b, a, 8, 4) for a, b in itertools.pairwise(sizes)])
        self.resample = resample

    def valid(self, length: int) -> int:
        """The least length from the given one on that all levels divide."""
        length = math.ceil(length * self.resample)
        for _ in self.enc:
            length = max(math.ceil((length - 8) / 4) + 1, 1)
        for _ in self.enc:
            length = (length - 1) * 4 + 8
        return math.ceil(length / self.resample)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[-1]
        x = F.pad(x, (0, self.valid(length) - length)).repeat_interleave(self.resample, -1)
        skips = []
        for enc, mix in zip(self.enc, self.mix, strict=True):
            x = F.glu(mix(F.relu(enc(x))), 1)
            skips.append(x)
        x = self.rnn(x.permute(2, 0, 1))[0].permute(1, 2, 0)
        for unmix, dec in zip(reversed(self.unmix), reversed(self.dec), strict=True):
            skip = skips.pop()
            x = dec(F.glu(unmix(x + skip[..., : x.shape[-1]]), 1))
        return F.avg_pool1d(x, self.resample)[..., :length]


class SpliceAI(nn.Module):
    """Jaganathan et al., 2019, SpliceAI-400 of 2 groups: residual units with kernels of 11 and dilations 1 and 4."""

    def __init__(self, settings: tuple[tuple[int, int], ...] = ((11, 1),) * 4 + ((11, 4),) * 4) -> None:
        super().__init__()
        self.start = nn.Conv1d(4, 8, 1)
        self.units = nn.ModuleList(
            [
                nn.Sequential(
                    *(nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, k, dilation=d, padding=d * (k - 1) // 2)),
                    *(nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, k, dilation=d, padding=d * (k - 1) // 2)),
                )
                for k, d in settings
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x)
        for unit in self.units:
            x = x + unit(x)
        return x


class Basenji2(nn.Module):
    """Kelley, 2020: convolutions with pooling to bins, then dilated residual layers, dilations growing by 1.5."""

    def __init__(self, pools: int = 3, layers: int = 4) -> None:
        super().__init__()
        tower = [nn.Conv1d(4, 8, 15, padding=7), nn.MaxPool1d(2)]
        for _ in range(pools - 1):
            tower += [nn.GELU(), nn.Conv1d(8, 8, 5, padding=2), nn.MaxPool1d(2)]
        self.tower = nn.Sequential(*tower)
        rates = [round(1.5**n) for n in range(1, layers + 1)]
        self.wide = nn.ModuleList([nn.Conv1d(8, 8, 3, dilation=d, padding=d) for d in rates])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.tower(x)
        for conv in self.wide:
            x = x + conv(F.gelu(x))
        return x


class Enformer(nn.Module):
    """Avsec et al., 2021: Basenji2's tower, then attention over all bins without a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = Basenji2(pools=3, layers=0).tower
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(self.tower(x).transpose(1, 2))  # type: ignore[no-any-return]


class DeepSpeech2(nn.Module):
    """Amodei et al., 2016, section 3: a strided convolution, recurrences, a row convolution of 19 frames ahead."""

    def __init__(self, bidirectional: bool = False, ahead: int = 19) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 11, 2, padding=5)
        self.rnn = nn.GRU(8, 8, batch_first=True, bidirectional=bidirectional)
        self.bidirectional, self.ahead = bidirectional, ahead
        self.row = nn.Conv1d(8, 8, ahead + 1, groups=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.rnn(self.conv(x).transpose(1, 2))[0]
        return y if self.bidirectional else self.row(F.pad(y.transpose(1, 2), (0, self.ahead)))


class Emformer(nn.Module):
    """Attention in chunks with a look at the next frames (Shi et al., 2021), as a mask: chunks of 8, 4 frames ahead."""

    def __init__(self, chunk: int = 8, ahead: int = 4) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.chunk, self.ahead = chunk, ahead

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        at = torch.arange(x.shape[1])
        until = (at // self.chunk + 1) * self.chunk + self.ahead
        allowed = at[None, :] < until[:, None]
        q, k, v = self.qkv(x).chunk(3, -1)
        return x + F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)


class CausalVideo(nn.Module):
    """MAGVIT-v2 (Yu et al., 2024), section 3.2: padding of time before, stride 2, norms of frames."""

    def __init__(self, norm_over_time: bool = False) -> None:
        super().__init__()
        self.one, self.two = nn.Conv3d(3, 8, 3, padding=(0, 1, 1)), nn.Conv3d(8, 8, 3, (2, 1, 1), padding=(0, 1, 1))
        self.norm = nn.GroupNorm(2, 8)
        self.over_time = norm_over_time

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(F.pad(x, (0, 0, 0, 0, 2, 0)))
        if self.over_time:
            x = self.norm(x)
        else:
            frames = x.transpose(1, 2)
            x = self.norm(frames.flatten(0, 1)).view(frames.shape).transpose(1, 2)
        return self.two(F.pad(F.silu(x), (0, 0, 0, 0, 2, 0)))


class Rwkv(nn.Module):
    """RWKV-4 (Peng et al., 2023): token shift and an exponential mean of what came, by cumulative sums."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.rand(8))
        self.kvr = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = F.pad(x, (0, 0, 1, -1))
        k, v, r = self.kvr(x * self.mix + before * (1 - self.mix)).chunk(3, -1)
        k = k.clamp(-5, 5).exp()
        return r.sigmoid() * (k * v).cumsum(1) / k.cumsum(1)


class Leak(nn.Module):
    """Ways in which models that are meant to be causal are not, as they have been published."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv1d(8, 8, 3, padding=1 if kind == "same" else 0)
        self.norm = nn.GroupNorm(1, 8) if kind == "norm" else nn.Identity()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x if self.kind == "same" else F.pad(x, (2, 0)))).transpose(1, 2)
        q, k, v = self.qkv(x).chunk(3, -1)
        allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(1 if self.kind == "mask" else 0)
        return x + F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)


PAPERS = (
    Case("TCN", "Bai 2018", Tcn, (1, 1, 256), 2),
    Case("TCN, not causal", "keras-tcn, padding same", lambda: Tcn(causal=False), (1, 1, 256), 2),
    Case(
        "WaveNet, 2 rounds of 6", "van den Oord 2016", WaveNet, (1, 1, 512), 2, 16000, known="reads 1 + 1 + 2*63 = 128"
    ),
    Case("Conv-TasNet, causal", "Luo 2019", lambda: ConvTasNet(True), (1, 1, 512), 2, 8000, known="2 ms"),
    Case(
        "Conv-TasNet",
        "Luo 2019",
        lambda: ConvTasNet(False),
        (1, 1, 512),
        2,
        8000,
        known="the whole signal by its norms",
    ),
    Case("Demucs, causal", "Defossez 2020", Demucs, (1, 1, 4096), 2, 16000, known="37.3 ms"),
    Case("SpliceAI-400", "Jaganathan 2019", SpliceAI, (1, 4, 1024), 2, known="200 on each side"),
    Case("Basenji2", "Kelley 2020", Basenji2, (1, 4, 1024), 2),
    Case("Enformer", "Avsec 2021", Enformer, (1, 4, 1024), 2),
    Case("Deep Speech 2, row convolution", "Amodei 2016", DeepSpeech2, (1, 8, 256), 2, 100),
    Case("Deep Speech 2, both ways", "Amodei 2016", lambda: DeepSpeech2(True), (1, 8, 256), 2, 100),
    Case("attention in chunks of 8, 4 ahead", "Emformer, Shi 2021", Emformer, (1, 96, 8), 1),
    Case("causal 3D tokenizer", "MAGVIT-v2, Yu 2024", CausalVideo, (1, 3, 24, 8, 8), 2),
    Case("RWKV-4 time mixing", "Peng 2023", Rwkv, (1, 64, 8), 1),
    Case("leak: group norm over time", "rebuilt", lambda: CausalVideo(True), (1, 3, 24, 8, 8), 2),
    Case("leak: padding on both sides", "rebuilt", lambda: Leak("same"), (1, 8, 64), 2),
    Case("leak: a mask off by one", "rebuilt", lambda: Leak("mask"), (1, 8, 64), 2),
    Case("leak: a norm over the sequence", "rebuilt", lambda: Leak("norm"), (1, 8, 64), 2),
)


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
    )
    yield Case("Wav2Letter, waveform", "torchaudio", lambda: models.Wav2Letter(8, "waveform"), (1, 1, 8000), 2, 16000)
    yield Case(
        "Wav2Letter, power spectrum", "torchaudio", lambda: models.Wav2Letter(8, "power_spectrum", 16), (1, 16, 256), 2
    )
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
        "num_filters": 4, "hidden_size": 16, "codebook_dim": 16, "vector_quantization_hidden_dimension": 16,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
        "intermediate_size": 16, "codebook_size": 8, "sliding_window": 6,
    }
    yield Case(
        "Mimi, encoder",
        "transformers",
        audio(t.MimiConfig(**mimi), t.MimiModel, lambda m, x: m.encoder(x)),
        (1, 1, 19200),
        2,
        24000,
    )
    yield Case(
        "Mimi, encoder and transformer of 6 frames",
        "transformers",
        audio(
            t.MimiConfig(**mimi),
            t.MimiModel,
            lambda m, x: m.downsample(m.encoder_transformer(m.encoder(x).transpose(1, 2))[0].transpose(1, 2)),
        ),
        (1, 1, 38400),
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
        "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 32,
        "num_mel_bins": 8, "max_source_positions": 64, "max_target_positions": 32,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
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


def cases() -> Iterator[Case]:
    """All of them; those of a package that is not there are left out."""
    yield from PAPERS
    for package in (_torchaudio, _transformers):
        try:
            yield from list(package())
        except ImportError:
            continue
