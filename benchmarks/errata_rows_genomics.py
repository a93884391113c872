"""Rows of `errata.py`: genomics."""

from __future__ import annotations

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

ENFORMER = (
    "enformer_pytorch.Enformer.from_hparams(dim=1536, depth=11, heads=8,"
    " output_heads=dict(human=5313, mouse=1643), target_length=896)"
)
ENFORMER_ROWS = (
    Row(
        *("enformer-params", "genomics", "Enformer", "246.18 M"),
        *("MultiMolecule, Num Parameters", CARD.format("enformer")),
        *("enformer-pytorch==0.8.12", ENFORMER, Params((1, 196608, 4))),
        {"with the human head alone": Params((1, 196608, 4), ("*mouse*",))},
    ),
)

ROWS = (*SPLICE_ROWS, *ENFORMER_ROWS)
