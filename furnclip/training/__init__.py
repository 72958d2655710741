"""Fine-tuning CLIP: WebDataset shards and a base model in, a plain ``transformers`` folder out.

``main.run_training`` is the stage; ``model.get_model`` and ``data.get_wds_pipeline`` are for a
training loop of one's own.
"""
