"""What each position of a tensor sees along one axis of a source: fields, and the steps that carry them."""
