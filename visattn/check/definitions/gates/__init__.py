"""Index by index: the gates of `visattn.ops`."""
