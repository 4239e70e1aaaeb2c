"""Index by index: the sampling of `visattn.ops`."""
