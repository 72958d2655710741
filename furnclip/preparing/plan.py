"""Which sample goes to which shard: decided from hashes and row order alone, before any writing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from furnclip.config import PrepSettings
from furnclip.preparing.duplicates import components, same_pictures, similar_pictures
from furnclip.preparing.rows import Sample, reject
from furnclip.preparing.splits import MINI, SPLITS, in_mini, split_of
from furnclip.state.preparing import Picture, Reject

# Encoded squares of photos take 0.4 to 1.5 bytes a pixel at quality 95 without subsampling.
_BYTES_PER_PIXEL, _BYTES_PER_SAMPLE = 1.9, 4096


@dataclass(frozen=True)
class Twin:
    """A row whose picture is also another row's: ``kind`` is same_product, exact or near."""

    sample: Sample
    kind: str
    other: Sample


@dataclass(frozen=True)
class PlannedShard:
    """A shard to be: its name relative to the shards folder and its samples in order."""

    name: str
    split: str
    samples: Sequence[Sample]


@dataclass
class Plan:
    """Everything a run will write. ``groups`` maps each group to its split, old ones included."""

    shards: list[PlannedShard] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    repeated: list[Reject] = field(default_factory=list)
    twins: list[Twin] = field(default_factory=list)
    largest_family: int = 0


def scheme_of(settings: PrepSettings) -> str:
    """Name the way splits are drawn; another salt or fraction begins a new ledger."""
    return f"{settings.split_salt}/{settings.val_fraction!r}/{settings.test_fraction!r}"


def make_plan(
    samples: Sequence[Sample],
    pictures: Mapping[str, Picture],
    settings: PrepSettings,
    *,
    groups: Mapping[str, str],
    settled: Mapping[str, str],
) -> Plan:
    """Draw splits and fill shards.

    ``groups`` is the ledger: a group in it never moves. ``settled`` maps an image path to the
    pixels (SHA-256) it had when it was last sharded. Groups that share a picture share the split
    of the first of them; a new picture near groups of two splits is rejected (``split_conflict``),
    since it would leak whichever side it took.
    """
    plan = Plan()
    usable = drop_unusable(samples, pictures, plan)
    plan.twins += _twins(usable, pictures, settings)
    plan.groups = dict(groups)
    conflicts = _settle_families(usable, pictures, plan, settings, settled)
    for sample in samples:
        if sample.group not in plan.groups:
            plan.groups[sample.group] = _drawn(sample.group, settings)
    for sample, message in conflicts.values():
        plan.rejects.append(reject(sample, "split_conflict", message))
    written = {sample.key for sample in usable} - conflicts.keys()
    plan.shards = list(fill_shards(samples, plan.groups, written, settings))
    return plan


def fill_shards(
    samples: Iterable[Sample], groups: Mapping[str, str], written: set[str], settings: PrepSettings
) -> Iterable[PlannedShard]:
    """Deal samples to the shards of their splits in row order.

    A row that is left out keeps its place, so that mending it changes one shard only.
    """
    places: dict[str, list[Sample]] = {name: [] for name in (*SPLITS, MINI)}
    for sample in samples:
        split = groups[sample.group]
        places[split].append(sample)
        if split == "train" and in_mini(
            sample.group, salt=settings.split_salt, mini_fraction=settings.mini_fraction
        ):
            places[MINI].append(sample)
    size = shard_capacity(settings)
    for split, members in places.items():
        for number, start in enumerate(range(0, len(members), size)):
            chosen = [s for s in members[start : start + size] if s.key in written]
            if chosen:
                yield PlannedShard(f"{split}/{split}-{number:06d}.tar", split, chosen)


def shard_capacity(settings: PrepSettings) -> int:
    """Return how many samples a shard holds under both limits."""
    expected = settings.image_size**2 * _BYTES_PER_PIXEL + _BYTES_PER_SAMPLE
    return max(1, min(settings.samples_per_shard, int(settings.max_shard_bytes // expected)))


def drop_unusable(
    samples: Sequence[Sample], pictures: Mapping[str, Picture], plan: Plan
) -> list[Sample]:
    """Return the samples with a usable picture, each product and picture once; note the others."""
    usable = []
    seen: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        picture = pictures[sample.source]
        if picture.reason:
            plan.rejects.append(reject(sample, picture.reason, picture.message))
            continue
        first = seen.setdefault((sample.product_id, picture.image_sha256), sample)
        if first is sample:
            usable.append(sample)
        else:
            message = f"same product and picture as row {first.number}"
            plan.repeated.append(reject(sample, "duplicate_image", message))
            plan.twins.append(Twin(sample, "same_product", first))
    return usable


def _drawn(group: str, settings: PrepSettings) -> str:
    return split_of(
        group,
        salt=settings.split_salt,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
    )


def _twins(
    samples: Sequence[Sample], pictures: Mapping[str, Picture], settings: PrepSettings
) -> list[Twin]:
    seen = [pictures[sample.source] for sample in samples]
    exact = same_pictures(seen)
    later = {b for _, b in exact}
    alone = [index for index in range(len(samples)) if index not in later]
    near = similar_pictures([seen[index] for index in alone], bits=settings.near_duplicate_bits)
    return [
        *(Twin(samples[b], "exact", samples[a]) for a, b in exact),
        *(Twin(samples[alone[b]], "near", samples[alone[a]]) for a, b in near),
    ]


def _settle_families(
    samples: Sequence[Sample],
    pictures: Mapping[str, Picture],
    plan: Plan,
    settings: PrepSettings,
    settled: Mapping[str, str],
) -> dict[str, tuple[Sample, str]]:
    """Give groups that share pictures one split; returns rows that fit on neither side, by key."""
    bonds = [twin for twin in plan.twins if twin.sample.group != twin.other.group]
    order = dict.fromkeys(sample.group for sample in samples)
    families = components(order, ((twin.sample.group, twin.other.group) for twin in bonds))
    plan.largest_family = max((len(family) for family in families), default=0)
    torn: dict[str, list[str]] = {}
    for family in families:
        known = {plan.groups[group] for group in family if group in plan.groups}
        if len(known) > 1:
            torn.update(dict.fromkeys(family, sorted(known)))
            continue
        split = known.pop() if known else _drawn(family[0], settings)
        plan.groups.update(dict.fromkeys(family, split))
    return {
        sample.key: (sample, f"the same picture is in {' and '.join(torn[sample.group])}")
        for twin in bonds
        for sample in (twin.sample, twin.other)
        if sample.group in torn
        and (
            sample.group not in plan.groups
            or settled.get(sample.source) != pictures[sample.source].image_sha256
        )
    }
