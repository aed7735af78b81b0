"""How far the granularities of a recipe get on a model, told from its profile."""

from service.contract.recipe import STRUCTURED, Prune, Structured
from service.contract.resources import GranularityReach, ModelProfile, Reach

__all__ = ["DENSE", "granularities_of", "reach_for", "reach_of"]

DENSE = Reach(keep=1.0, macs=1.0, params=1.0)

# What the limits of a profile were taken with: the defaults of the recipe.
_ROUND_TO = Prune().round_to
_MIN_KEEP = Prune().min_keep


def granularities_of(prune: Prune) -> tuple[Structured, ...]:
    """What may be removed somewhere: by `granularity` of a resolved recipe, or by a rule for some layers."""
    named = {name for rule in prune.layers.values() for name in rule.granularity or ()} | set(prune.structured)
    return tuple(name for name in STRUCTURED if name in named)


def reach_for(granularities: tuple[Structured, ...], model: ModelProfile) -> GranularityReach | None:
    """How far these get together with default rules; None for a profile that does not say.

    Granularities that the model has no units of make no difference.
    """
    prunable = model.prunable
    if prunable.by_granularity:
        there = {name for each in prunable.by_granularity for name in each.granularity}
        wanted = [name for name in granularities if name in there]
        found = [each for each in prunable.by_granularity if each.granularity == wanted]
        return found[0] if found else GranularityReach(granularity=[], units=0, reach=[_nothing(model)])
    if "layer" in granularities:
        return None
    # An older profile: all its groups together, and fewer reach less far.
    least = Reach(keep=0.0, macs=prunable.min_macs, params=prunable.min_params)
    return GranularityReach(granularity=list(granularities), units=prunable.components, reach=[*prunable.reach, least])


def reach_of(prune: Prune, model: ModelProfile) -> dict[str, float] | None:
    """The least that can be left, by target: `macs` and `params` as fractions of the dense model, `size_bytes` and
    `memory_bytes` in bytes where the profile knows them.

    None where the rules of the recipe allow what the profile did not try: fewer channels than by default, or counts
    that are no multiples of the default. Stricter rules reach less far than what is answered.
    """
    looser = (
        prune.round_to % _ROUND_TO != 0
        or prune.min_keep < _MIN_KEEP
        or any(rule.min_keep is not None and rule.min_keep < _MIN_KEEP for rule in prune.layers.values())
    )
    found = None if looser else reach_for(granularities_of(prune), model)
    if found is None:
        return None
    least = found.reach[-1]
    limits = {"macs": least.macs, "params": least.params}
    limits |= {
        name: float(value)
        for name, value in (("size_bytes", least.size_bytes), ("memory_bytes", least.memory_bytes))
        if value is not None
    }
    return limits


def _nothing(model: ModelProfile) -> Reach:
    return DENSE.model_copy(update={"keep": 0.0, "size_bytes": model.size_bytes, "memory_bytes": model.memory_bytes})
