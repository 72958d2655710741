"""The model card: what a tuned model is, how it was made, how well it does, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CARD = """---
library_name: transformers
pipeline_tag: zero-shot-image-classification
{base_line}tags: [clip, furnclip, image-text-retrieval]
---
# {name}

`{base}` fine-tuned by furnclip with scenario `{scenario}`. Its weights are {alpha:.1f} of the way
from the base to the tuned ones, chosen on the validation split.

Made with {made_with}.

## Results

On the {split} split, whole gallery; right answers are the images (texts) of the same product.

| metric | base | tuned |
|---|---:|---:|
{rows}

## Use

```python
from transformers import CLIPModel, CLIPProcessor

model = CLIPModel.from_pretrained("{name}")
processor = CLIPProcessor.from_pretrained("{name}")
```
"""


def model_card(
    *,
    name: str,
    base: str,
    scenario: str,
    alpha: float,
    split: str,
    settings: Mapping[str, Any],
    base_metrics: Mapping[str, float],
    tuned_metrics: Mapping[str, float],
) -> str:
    """Return the card as Markdown with the hub's metadata on top."""
    rows = [
        f"| {metric} | {base_metrics[metric]:.4g} | {value:.4g} |"
        for metric, value in tuned_metrics.items()
        if not metric.endswith(("_low", "_high"))
    ]
    named = ("epochs", "effective_batch_size", "lr", "weight_decay", "loss", "seed")
    return _CARD.format(
        name=name,
        base=base,
        base_line="" if Path(base).is_dir() else f"base_model: {base}\n",
        scenario=scenario,
        alpha=alpha,
        split=split,
        made_with=", ".join(f"{key} {settings[key]}" for key in named),
        rows="\n".join(rows),
    )
