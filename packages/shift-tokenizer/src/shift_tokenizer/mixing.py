"""How often each source is trained on: shares by the sources' sizes and a temperature, or by weights on request.

Source of the rule: Raffel et al. 2020 (T5), section 3.5.2, "temperature-scaled mixing", and Xue et al. 2021 (mT5),
section 3.1, whose exponent alpha is 1 / temperature.
"""

import math
from collections.abc import Mapping

from .errors import ConfigError


def source_shares(counts: Mapping[str, int], temperature: float, weights: Mapping[str, float]) -> dict[str, float]:
    """The share of each source in a batch.

    The natural share of a source of n clips is n ** (1 / temperature), divided by the sum of that over all sources. A
    source that is named in `weights` takes that weight in place of its natural share; then all are divided by their
    sum. With counts {"a": 100, "b": 400} and temperature 2, a has 1/3 and b 2/3; with weights {"a": 2}, a has 2 / (2 +
    2/3) = 3/4 and b 1/4.

    Args:
        counts: clips of each source that is there, at least 1 each.
        temperature: at least 1. At 1 shares are those of the sizes; the higher, the more alike they are.
        weights: at least 0 by source; 0 leaves a source out. Sources that are not named keep their natural share.

    Returns:
        by source, in the order of `counts`; at least 0, with the sum 1.

    Raises:
        ConfigError: a weight is given for a source that is not there, a number is out of range, or nothing has a share.
    """
    if not counts or any(not count >= 1 for count in counts.values()):
        raise ConfigError(f"Expected sources with at least one clip each, got {dict(counts)}. Check the data.")
    if not 1 <= temperature < math.inf:
        raise ConfigError(f"source_temperature: expected a number of at least 1, got {temperature!r}. Correct it.")
    unknown = sorted(set(weights) - set(counts))
    if unknown:
        raise ConfigError(
            f"source_weights: expected only sources of the data ({', '.join(map(repr, counts))}), got also "
            f"{', '.join(map(repr, unknown))}. Take them out, or add their data."
        )
    wrong = {name: weight for name, weight in weights.items() if not 0 <= weight < math.inf}
    if wrong:
        raise ConfigError(f"source_weights: expected numbers of at least 0, got {wrong}. Correct them.")
    sizes = {name: count ** (1 / temperature) for name, count in counts.items()}
    natural = sum(sizes.values())
    shares = {name: float(weights.get(name, size / natural)) for name, size in sizes.items()}
    total = sum(shares.values())
    if total <= 0:
        raise ConfigError(
            f"source_weights: expected a weight above 0 for one of the sources, got {dict(weights)}. Raise one."
        )
    return {name: share / total for name, share in shares.items()}
