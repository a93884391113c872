"""Rows of `errata.py`: genomics."""

from __future__ import annotations

from typing import Any

from errata_measures import Field, Macs, Measure, Params, Row  # beside this file

SPLICE = "openspliceai==0.0.7"
CARD = "https://github.com/DLS5-Omics/multimolecule/blob/cb09790/multimolecule/models/{}/README.md"
#: Widths of kernels and dilations of the residual units, four of each.
UNITS = {80: ((11, 1),), 400: ((11, 1), (11, 4)), 2000: ((11, 1), (11, 4), (21, 10))}
UNITS[10000] = (*UNITS[2000], (41, 25))


def splice(context: int, what: str, says: str) -> Row:
    """OpenSpliceAI's network for one flanking context, as MultiMolecule's card of it counts."""
    widths, dilations = zip(*UNITS[context], strict=True)
    network = "openspliceai.train_base.openspliceai.SpliceAI"
    model = f"{network}(32, numpy.repeat({list(widths)}, 4), numpy.repeat({list(dilations)}, 4))"
    measures: dict[str, Measure] = {
        "context": Field((1, 4, 2 * context + 64), 2, "", 2, less=1, thin=True),
        "params": Params((1, 4, 5000 + context)),
        "macs": Macs((1, 4, 5000 + context)),
    }
    column = {"context": "Flanking Context", "params": "Num Parameters (M)", "macs": "MACs (G)"}[what]
    url, subject = CARD.format("openspliceai"), f"OpenSpliceAI {context} nt"
    return Row(f"splice-{context}-{what}", "genomics", subject, says, column, url, SPLICE, model, measures[what])


SPLICE_ROWS = (
    splice(80, "context", "80"),
    splice(80, "params", "0.09 M"),
    splice(80, "macs", "0.47 G"),
    splice(400, "context", "400"),
    splice(400, "params", "0.19 M"),
    splice(400, "macs", "0.99 G"),
    splice(2000, "context", "2000"),
    splice(2000, "params", "0.36 M"),
    splice(2000, "macs", "2.50 G"),
    splice(10000, "context", "10000"),
    splice(10000, "params", "0.70 M"),
    splice(10000, "macs", "10.40 G"),
)

# --- MultiMolecule's cards --------------------------------------------------------------------------------------------

MOLECULE = "multimolecule==0.2.2 danling==0.4.8 torchdata==0.11.0"


def molecule(kind: str, title: str, length: int, what: str, says: str, **more: Any) -> Row:
    """A number of MultiMolecule's card of a model, for its class in the sizes that it has by default."""
    inputs = {"input_ids": (1, length)}
    measure: Measure = Params(inputs) if what == "params" else Macs(inputs)
    model = f"multimolecule.models.{kind}(multimolecule.models.{kind}.config_class())"
    key = f"molecule-{title.lower().replace(' ', '-')}-{what}"
    source = "MultiMolecule, " + {"params": "Num Parameters (M)", "macs": "MACs"}[what]
    url = CARD.format(more.pop("card", title.lower()))
    return Row(key, "genomics", title, says, source, url, MOLECULE, model, measure, **more)


MOLECULES = (
    molecule("BasenjiForTokenPrediction", "Basenji", 131072, "params", "30.09 M", note="Basenji2, for human tracks"),
    molecule("EnformerForTokenPrediction", "Enformer", 196608, "params", "246.18 M", note="for human tracks"),
    molecule("BassetForSequencePrediction", "Basset", 600, "params", "4.14 M"),
    molecule("BassetForSequencePrediction", "Basset", 600, "macs", "0.15 G"),
    molecule("DeepSeaForSequencePrediction", "DeepSEA", 1000, "params", "52.84 M"),
    molecule("DeepStarrForSequencePrediction", "DeepSTARR", 249, "params", "0.62 M"),
    molecule("DeepStarrForSequencePrediction", "DeepSTARR", 249, "macs", "10.26 M"),
    molecule("ChromBpNetForProfilePrediction", "ChromBPNet", 2114, "params", "6.61 M"),
    molecule("ChromBpNetForProfilePrediction", "ChromBPNet", 2114, "macs", "13.91 G"),
    molecule("MalinoisForSequencePrediction", "Malinois", 600, "params", "4.11 M"),
    molecule("MpraDragoNnForSequencePrediction", "MPRA-DragoNN", 145, "macs", "20.05 M", card="mpradragonn"),
    molecule("Optimus5PrimeForSequencePrediction", "Optimus 5-Prime", 50, "macs", "12.00 M", card="optimus5prime"),
    molecule("ScBassetForSequencePrediction", "scBasset", 1344, "params", "4.59 M"),
    molecule("ScBassetForSequencePrediction", "scBasset", 1344, "macs", "0.47 G"),
    molecule("AparentForSequencePrediction", "APARENT", 205, "macs", "0.01 G"),
    molecule(
        *("A2zChromatinForSequencePrediction", "a2z-chromatin", 600, "params", "1.23 M"),
        card="a2zchromatin",
        note="the LSTM that the card describes, 320 units each way after 320 filters, has 1,643,520 alone",
    ),
    molecule(
        *("A2zChromatinForSequencePrediction", "a2z-chromatin", 600, "macs", "7.30 M"),
        card="a2zchromatin",
        note="its convolution takes 76,544,000 alone",
    ),
)

# --- Basenji2 ---------------------------------------------------------------------------------------------------------

BASENJI2 = "basenji2-pytorch==0.1.2 pytorch-lightning==2.6.1"
BASENJI2_URL = "https://github.com/d-laub/basenji2-pytorch/blob/main/basenji2_pytorch/model.py"
BASENJI2_MODEL = "basenji2_pytorch.Basenji2(basenji2_pytorch.basenji2_params['model'])"
WINDOW = (1, 4, 131072)
BASENJI2_ROWS = (
    Row(
        *("basenji2-params", "genomics", "Basenji2", "30,123,584", "basenji2-pytorch, comment in model.py"),
        *(BASENJI2_URL, BASENJI2, BASENJI2_MODEL, Params(WINDOW)),
        {"with the statistics of its norms, as Keras counts them": Params(WINDOW, buffers=("*running*",))},
    ),
    Row(
        *(
            "basenji2-trainable",
            "genomics",
            "Basenji2",
            "30,099,228",
            "basenji2-pytorch, comment in model.py: trainable",
        ),
        *(BASENJI2_URL, BASENJI2, BASENJI2_MODEL, Params(WINDOW, trainable=True)),
        note="11,000 more than there are; its other number, of all, is right",
    ),
)

ROWS = (*SPLICE_ROWS, *MOLECULES, *BASENJI2_ROWS)
