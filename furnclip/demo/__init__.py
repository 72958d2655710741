"""A drawn furniture catalogue and a tiny CLIP: the whole pipeline with no key, hub or GPU."""
