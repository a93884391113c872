// Which layers and modules of a model show while some modules are open, and where dagre puts them.

const OPEN_AT_FIRST = 30; // boxes and frames at most, so that the first sight can be read
const MOST_OPEN = 400; // and at all; beyond it dagre takes seconds
const MOST_FOUND = 250; // while searches open one module after the other, so that each takes no second
const MOST_BENDS = 1500; // places where edges pass a row of nodes; beyond it, too
const NODE_HEIGHT = 46;
const FRAME_HEAD = 14; // room for the name of an open module, above what dagre gives it
const LETTER = 8; // width of a letter of a name, for boxes as wide as their names

/** Whether a node of the tree is a module (and no layer). */
function isModule(node) {
  return node.children !== undefined;
}

/** The modules open so that no more than that many boxes and frames show: the outermost first. */
function openUpTo(tree, most) {
  const open = new Set([tree]);
  let shown = tree.children.length;
  const waiting = tree.children.filter(isModule);
  while (waiting.length) {
    const module = waiting.shift();
    if (shown + module.children.length > most) continue;
    open.add(module);
    shown += module.children.length;
    waiting.push(...module.children.filter(isModule));
  }
  return open;
}

/** How many boxes and frames show while these modules are open. */
function shownBy(open) {
  let shown = 0;
  for (const module of open) shown += module.children.length;
  return shown;
}

/** The modules around a node, from the outermost; without the root. */
function around(node) {
  const found = [];
  for (let at = node.parent; at && at.parent; at = at.parent) found.unshift(at);
  return found;
}

/** What shows: `nodes` (closed modules and layers), `frames` (open modules), and `edges` between nodes. */
function folded(model, open) {
  const shown = new Map();
  const nodes = [];
  const frames = [];
  const visit = (node) => {
    if (isModule(node) && open.has(node)) {
      if (node.parent) frames.push(node);
      node.children.forEach(visit);
    } else {
      nodes.push(node);
      node.layers.forEach((at) => shown.set(at, node));
    }
  };
  visit(model.tree);
  const edges = new Map();
  for (const layer of model.layers) {
    for (const from of layer.inputs) {
      const [one, other] = [shown.get(from), shown.get(layer.at)];
      if (one !== other) edges.set(`${nodes.indexOf(one)}>${nodes.indexOf(other)}`, { from: one, to: other });
    }
  }
  return { nodes, frames, edges: [...edges.values()], shown };
}

/** Rows of nodes that each edge passes, from the longest paths; edges back to an earlier node pass none. */
function measureEdges({ nodes, edges }) {
  const order = new Map(nodes.map((node) => [node, node.layers[0]]));
  const rows = new Map(nodes.map((node) => [node, 0]));
  const sorted = [...edges].sort((one, other) => order.get(one.from) - order.get(other.from));
  for (const { from, to } of sorted) {
    if (order.get(from) < order.get(to)) rows.set(to, Math.max(rows.get(to), rows.get(from) + 1));
  }
  for (const edge of edges) edge.length = Math.max(1, rows.get(edge.to) - rows.get(edge.from));
}

/** The edges that dagre routes; in a network with too many long ones, the longest are drawn as plain curves. */
function routed(edges) {
  const short = [...edges].sort((one, other) => one.length - other.length);
  let left = MOST_BENDS;
  return new Set(short.filter((edge) => (left -= edge.length) >= 0 || edge.length === 1));
}

/** The name of a node as its box shows it. */
function boxName(node) {
  return node.name.length > 26 ? `${node.name.slice(0, 14)}…${node.name.slice(-10)}` : node.name;
}

/** Places by dagre: `nodes` and `frames` with a centre and a size, `edges` with points, and the size of it all. */
function laidOut(view, subtitle) {
  const graph = new dagre.graphlib.Graph({ compound: true, multigraph: false });
  graph.setGraph({ rankdir: "TB", nodesep: 18, ranksep: 36, edgesep: 10, marginx: 12, marginy: 12 });
  graph.setDefaultEdgeLabel(() => ({}));
  const ids = new Map([...view.frames, ...view.nodes].map((node, at) => [node, `n${at}`]));
  for (const node of view.nodes) {
    const letters = Math.max(boxName(node).length + (isModule(node) ? 3 : 0), subtitle(node).length * 0.8);
    graph.setNode(ids.get(node), { width: Math.max(84, Math.round(letters * LETTER) + 24), height: NODE_HEIGHT });
  }
  for (const frame of view.frames) graph.setNode(ids.get(frame), {});
  for (const node of [...view.frames, ...view.nodes]) {
    if (ids.has(node.parent)) graph.setParent(ids.get(node), ids.get(node.parent));
  }
  measureEdges(view);
  const byDagre = routed(view.edges);
  byDagre.forEach(({ from, to }) => graph.setEdge(ids.get(from), ids.get(to)));
  dagre.layout(graph);
  const placed = (node) => ({ node, ...graph.node(ids.get(node)) });
  const { width, height } = graph.graph();
  return {
    width,
    height,
    nodes: view.nodes.map(placed),
    frames: view.frames.map(placed),
    edges: view.edges.map((edge) => ({
      ...edge,
      points: byDagre.has(edge) ? graph.edge(ids.get(edge.from), ids.get(edge.to)).points : null,
      ends: [graph.node(ids.get(edge.from)), graph.node(ids.get(edge.to))],
    })),
  };
}

/** An edge as an SVG path: smooth through dagre's points, or a bow beside the nodes that it passes. */
function edgePath({ points, ends: [from, to] }) {
  if (!points) {
    const [top, bottom] = [from.y + from.height / 2, to.y - to.height / 2];
    const side = Math.max(from.x + from.width / 2, to.x + to.width / 2) + 30 + Math.abs(bottom - top) * 0.08;
    return `M${from.x},${top}C${side},${top} ${side},${bottom} ${to.x},${bottom}`;
  }
  const parts = [`M${points[0].x},${points[0].y}`];
  for (let at = 1; at < points.length - 1; at += 1) {
    const end =
      at === points.length - 2
        ? points[at + 1]
        : { x: (points[at].x + points[at + 1].x) / 2, y: (points[at].y + points[at + 1].y) / 2 };
    parts.push(`Q${points[at].x},${points[at].y} ${end.x},${end.y}`);
  }
  if (points.length === 2) parts.push(`L${points[1].x},${points[1].y}`);
  return parts.join("");
}
