"""What a saved graph holds."""

from __future__ import annotations

import json

from rfcalc.graph import InputInfo, Node, Ref, TensorInfo, build
from rfcalc.graph_json import dumps, from_json

IMAGE = (TensorInfo((1, 3, 8, 8)),)


def test_rows_of_nodes_leave_out_what_is_empty():
    source = Node(0, "input", "x", "input", 1, "x", "Input", (), IMAGE, ((),))
    last = Node(1, "aten.mystery", "mystery", "unknown", 2, "", "", (Ref(0),), IMAGE, ((),), macs=None, masked=True)
    graph = build(
        [source, last],
        model="net",
        inputs=[InputInfo("x", 0, (1, 3, 8, 8), "float32", {"H": 2, "W": 3})],
        outputs=[Ref(1)],
        params=[],
        buffers=[],
    )
    text = dumps(graph)

    image = [[[1, 3, 8, 8], "float32"]]
    assert json.loads(text)["nodes"] == [
        {"id": 0, "op": "input", "name": "x", "kind": "input", "index": 1, "scope": "x", "module": "Input"}
        | {"inputs": [], "outputs": image, "reads": [[]], "macs": 0, "owner": -1, "call": 0},
        {"id": 1, "op": "aten.mystery", "name": "mystery", "kind": "unknown", "index": 2, "inputs": [[0, 0]]}
        | {"outputs": image, "reads": [[]], "macs": None, "masked": True, "owner": -1, "call": 0},
    ]
    assert list(from_json(json.loads(text))) == [source, last]
