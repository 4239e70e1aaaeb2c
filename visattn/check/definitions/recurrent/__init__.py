"""Index by index: the recurrent of `visattn.ops`."""
