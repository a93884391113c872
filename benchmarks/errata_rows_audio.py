"""Rows of `errata.py`: audio, speech, and volumes."""

from __future__ import annotations

from fractions import Fraction

from errata_measures import Field, HalfWidths, Halo, Of, Params, Row, Scaled  # beside this file
from errata_streams import Delay, FirstFrame, Hop

TRANSFORMERS = "transformers==5.24.0"
W2V_URL = "https://arxiv.org/abs/2006.11477"
EXTRACTOR = "transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(num_hidden_layers=1{}))"
W2V = EXTRACTOR.format("") + ".feature_extractor"
FIELD = Field((1, 4000), 1, "", 2, thin=True)

WAV2VEC = (
    Row(
        *("wav2vec2-field", "speech", "wav2vec 2.0 base, encoder of features, samples", "400", "section 4.2", W2V_URL),
        *(TRANSFORMERS, W2V, FIELD),
        {
            "its convolutions alone, the group norm over time left out": Of(
                f"errata_nets.without({W2V}, 'GroupNorm')", FIELD
            )
        },
    ),
    Row(
        *("wav2vec2-layer-norm-field", "speech", "wav2vec 2.0 large, encoder of features, samples", "400"),
        *("section 4.2", W2V_URL, TRANSFORMERS),
        *(EXTRACTOR.format(", feat_extract_norm='layer'") + ".feature_extractor", FIELD),
    ),
)

TASNET = (
    "torchaudio.models.ConvTasNet(num_sources=2, enc_kernel_size=16, enc_num_feats=8, msk_kernel_size=3,"
    " msk_num_feats=4, msk_num_hidden_feats=8, msk_num_layers=8, msk_num_stacks=3)"
)
SECONDS = Field((1, 1, 40000), 2, "", 2, thin=True)
TORCHAUDIO = "torchaudio==2.11.1"
TASNET_URL = "https://arxiv.org/abs/1809.07454"
TASNET_ROWS = (
    Row(
        *("conv-tasnet-field", "audio", "Conv-TasNet, X = 8, R = 3, not causal", "1.53"),
        *("table II, receptive field in s", TASNET_URL, TORCHAUDIO, TASNET, SECONDS),
        {
            "its convolutions alone, at 8 kHz, the norms over time left out": Scaled(
                Of(f"errata_nets.without({TASNET}, 'GroupNorm')", SECONDS), Fraction(1, 8000)
            )
        },
    ),
)

ENCODEC_CONFIG = "transformers.EncodecConfig(num_filters=4, hidden_size=16, num_lstm_layers=1)"
ENCODEC = f"transformers.EncodecModel({ENCODEC_CONFIG}).encoder"
ENCODEC_ROWS = (
    Row(
        *("encodec-first-frame", "audio", "EnCodec 24 kHz, encoder", "320"),
        *("section 3.1: 13 ms as soon as 13 ms are received", "https://arxiv.org/abs/2210.13438"),
        *(TRANSFORMERS, ENCODEC, FirstFrame((1, 1, 9600))),
        {"what each later frame waits for": Hop((1, 1, 9600))},
        note="all padding is before, but reflecting: the first frame reads 2,240 samples",
    ),
)

MIMI = (
    "transformers.MimiModel(transformers.MimiConfig(num_filters=4, hidden_size=16, num_hidden_layers=1,"
    " num_attention_heads=2, num_key_value_heads=2, head_dim=8, intermediate_size=16, codebook_dim=16,"
    " vector_quantization_hidden_dimension=16, upsample_groups=16))"
)
MIMI_URL = "https://github.com/kyutai-labs/moshi/blob/0038c51/README.md"
#: From samples of 24 kHz to tokens of 12.5 Hz: its encoder, its transformer and the convolution that halves the rate.
MIMI_TOKENS = f"errata_nets.MimiTokens({MIMI})"
MIMI_ROWS = (
    Row(
        *("mimi-first-frame", "audio", "Mimi, encoder, ms of the first frame", "80 ms"),
        *("Moshi, README: fully streaming, latency of 80ms, the frame size", MIMI_URL, TRANSFORMERS, MIMI_TOKENS),
        Scaled(FirstFrame((1, 1, 9600)), Fraction(1000, 24000)),
    ),
    Row(
        *("mimi-hop", "audio", "Mimi, encoder, ms between frames", "80 ms"),
        *("Moshi, README: fully streaming, latency of 80ms, the frame size", MIMI_URL, TRANSFORMERS, MIMI_TOKENS),
        Scaled(Hop((1, 1, 46080)), Fraction(1000, 24000)),
    ),
)

DENOISER = "denoiser==0.1.5 julius==0.2.8"
DENOISER_URL = "https://github.com/facebookresearch/denoiser/blob/8afd7c1/README.md#L376"
DENOISING = "denoiser.demucs.Demucs(hidden=2, normalize=False{})"
DENOISER_ROWS = (
    Row(
        *(
            "demucs-lag",
            "audio",
            "Demucs for denoising, causal, 16 kHz, in ms",
            "41.3 ms",
            "denoiser, README: total lag",
        ),
        *(DENOISER_URL, DENOISER, DENOISING.format("")),
        Scaled(Delay((1, 1, 4096), 256), Fraction(1000, 16000)),
        {
            "without its resampling, of which the program that streams it grants 64 samples": Scaled(
                Of(DENOISING.format(", resample=1"), Delay((1, 1, 16384), 1024)),
                Fraction(1000, 64000),
                plus=Fraction(64000, 16000),
            )
        },
        note="the four filters that resample by 2 wait for 167 samples together",
    ),
)

WHISPER_URL = "https://github.com/openai/whisper/blob/c0d2f62/README.md"
SPEECH = {"input_features": (1, 80, 3000), "decoder_input_ids": (1, 2)}
SPEECH_128 = {"input_features": (1, 128, 3000), "decoder_input_ids": (1, 2)}


def whisper(name: str, says: str, width: int, layers: int, heads: int, more: str = "") -> Row:
    """Parameters of OpenAI's list of sizes."""
    settings = f"d_model={width}, encoder_layers={layers}, encoder_attention_heads={heads}"
    settings += f", decoder_attention_heads={heads}"
    settings += f", encoder_ffn_dim={4 * width}, decoder_ffn_dim={4 * width}"
    settings += more or f", decoder_layers={layers}, vocab_size=51865"
    model = f"transformers.WhisperForConditionalGeneration(transformers.WhisperConfig({settings}))"
    inputs = SPEECH_128 if more else SPEECH
    key, subject = f"whisper-{name}-params", f"Whisper {name}"
    return Row(key, "speech", subject, says, "whisper, README", WHISPER_URL, TRANSFORMERS, model, Params(inputs))


WHISPER = (
    whisper("tiny", "39 M", 384, 4, 6),
    whisper("base", "74 M", 512, 6, 8),
    whisper("small", "244 M", 768, 12, 12),
    whisper("medium", "769 M", 1024, 24, 16),
    whisper("large", "1550 M", 1280, 32, 20),
    whisper("turbo", "809 M", 1280, 32, 20, ", decoder_layers=4, vocab_size=51866, num_mel_bins=128"),
)

# --- volumes ----------------------------------------------------------------------------------------------------------

MEDNEXT_URL = "https://github.com/MIC-DKFZ/MedNeXt/blob/0b78ed8/README.md"


def mednext(variant: str, kernel: int, says: str, note: str = "") -> Row:
    """Parameters of MedNeXt's table, for the networks of MONAI, with 14 classes and deep supervision."""
    network = "monai.networks.nets.mednext.create_mednext"
    model = f"{network}({variant!r}, 3, 1, 14, {kernel}, deep_supervision=True)"
    key, subject = f"mednext-{variant.lower()}-{kernel}-params", f"MedNeXt-{variant}, kernels of {kernel}"
    measure = Params((1, 1, 32, 32, 32))
    source, monai = "MedNeXt, Parameters", "monai==1.6.1"
    return Row(key, "3-D", subject, says, source, MEDNEXT_URL, monai, model, measure, note=note)


PANSEG = "pytorch3dunet.unet3d.model.UNet3D(1, 1, f_maps=[2, 4, 8, 16], layer_order='cr')"
VOLUME = (1, 1, 192, 8, 8)
VOLUMES = (
    Row(
        *("panseg-halo", "3-D", "3D U-Net of 4 levels", "44", "panseg, compute_halo"),
        "https://github.com/kreshuklab/panseg/blob/8ebf828/panseg/core/zoo.py#L576",
        *("pytorch3dunet==1.9.6", PANSEG, Halo(VOLUME, 2, 8)),
        slip={"the half-widths of its convolutions, without pooling and upsampling": HalfWidths(VOLUME)},
        note="in steps of the grid, 48",
    ),
    mednext("S", 3, "5.6 M", "how many classes is not stated; with 14, three others of the table do not come out"),
    mednext("B", 3, "10.5 M"),
    mednext("B", 5, "11.0 M"),
    mednext("M", 5, "18.3 M"),
    mednext("L", 5, "63.0 M"),
)

ROWS = (*WAV2VEC, *TASNET_ROWS, *ENCODEC_ROWS, *MIMI_ROWS, *DENOISER_ROWS, *WHISPER, *VOLUMES)
