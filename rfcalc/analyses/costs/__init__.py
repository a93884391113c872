"""What a model costs beyond the dense count of one forward pass: open pairs, the backward pass, a token, each part."""
