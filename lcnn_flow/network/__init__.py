"""Networks: architectures, activations, forward pass, end-to-end filter and initializers."""
