"""Index by index: the primitives of `visattn.ops`."""
