"""Many models: which ones a pattern means, one flat row for each, and the machinery that fills the rows."""
