"""Index by index: the pairs of `visattn.ops`."""
