"""What can be known of the GPU kernels without a GPU: what they launch, and what their machine code needs."""
