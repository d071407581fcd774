"""All thresholds of the motion codes in one frozen dataclass, each with its unit."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hand_geometry.errors import InputError


@dataclass(frozen=True)
class CodeThresholds:
    """Where a measurement becomes an event, a state or a class.

    The unit ends each name: ``_m`` metres, ``_s`` seconds, ``_deg`` degrees, ``_m_s`` metres a second, ``_deg_s``
    degrees a second, ``_hz`` repetitions a second, ``_share`` a share of a whole, ``_spans`` multiples of
    the spans below. Contact, finger and trajectory values follow HandX (CVPR 2026) at 30 fps, said in seconds.

    Raises:
        InputError: If a value is not positive, or two that have an order are not in it.
    """

    smoothing_s: float = 0.05
    """Standard deviation of the Gaussian over time that events and movements are measured on."""
    gap_s: float = 0.14
    """A standstill as short as this inside a run does not end it."""
    event_s: float = 0.13
    """Shortest event that is a change (flexing, spacing, moving, turning)."""
    state_s: float = 0.20
    """Shortest state (handshape, facing, relation); shorter ones are left out."""

    flex_deg: float = 30.0
    flex_still_deg_s: float = 8.0
    extended_deg: float = 60.0
    """Knuckle and outer joints together below this: extended."""
    curled_deg: float = 125.0
    knuckle_deg: float = 50.0
    outer_deg: float = 50.0
    hyperextended_deg: float = -20.0
    spacing_deg: float = 18.0
    spacing_still_deg_s: float = 8.0
    open_deg: float = 20.0
    """Neighbouring fingers wider apart than this are open."""
    together_deg: float = 15.5
    """Neighbouring extended fingers closer than this lie side by side."""
    thumb_out_m: float = 0.025
    """Thumb tip beyond the index knuckle, away from the palm's middle."""

    move_m: float = 0.03
    move_still_m_s: float = 0.02
    turn_deg: float = 25.0
    turn_still_deg_s: float = 12.0

    tip_contact_m: float = 0.020
    pinch_m: float = 0.015
    """Change of the thumb tip's distance to a fingertip that is an event."""
    palm_contact_m: float = 0.025
    near_factor: float = 1.5
    """Within this many times its contact distance a pair is near: too near to say that it does not touch."""
    palms_contact_m: float = 0.040
    palms_near_m: float = 0.080
    palms_medium_m: float = 0.120
    palms_change_m: float = 0.05
    aligned_m: float = 0.02
    """Palms closer than this along an axis are level on it."""
    relation_change_m: float = 0.05

    active_m_s: float = 0.05
    active_deg_s: float = 20.0
    active_flex_deg_s: float = 40.0
    """A hand is at work while its wrist, its palm's direction or a finger is faster than this."""
    rest_s: float = 0.6
    """A pause as short as this does not end a movement."""
    movement_s: float = 0.20
    span_m: float = 0.02
    span_deg: float = 12.0
    span_flex_deg: float = 34.0
    """What counts as one span of travel, turning, or one finger's flexing, where they are weighed together."""
    movement_spans: float = 0.8
    """A movement of a smaller range is none."""
    small_spans: float = 5.0
    large_spans: float = 9.0
    slow_hz: float = 0.65
    fast_hz: float = 1.15
    """Repetitions a second; a movement that does not repeat counts as 0.6 of one."""
    reversal_share: float = 0.30
    """A turning point counts if the movement goes this share of its range before it and after it."""
    reversal_low_share: float = 0.18
    reversal_high_share: float = 0.42
    """Turning points that count at one of these and not at the other make the number of repetitions uncertain."""
    two_sided_share: float = 0.25
    """A movement goes to both sides of its rest if the lesser side has this share of the range."""
    circle_share: float = 0.45
    """Second extent of a path over its first, above which it may be a circle."""
    circle_turns: float = 0.6
    line_share: float = 0.20
    travel_m: float = 0.015
    """Displacements below this have no direction."""
    facing_share: float = 0.5
    """Cosine to an axis above which a vector counts as pointing along it."""
    not_facing_share: float = 0.2
    mirrored_share: float = 0.35
    alternating_share: float = -0.15
    """Correlation of the mirrored hands' velocities above (below) which they move as mirror images (in turn)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int | float) or value != value or (field.name not in _SIGNED and value <= 0):
                raise InputError(f"CodeThresholds.{field.name}: Expected a positive number, got {value!r}.")
        for low, high in _ORDERED:
            if getattr(self, low) >= getattr(self, high):
                raise InputError(f"CodeThresholds: Expected {low} < {high}, got {getattr(self, low)} and more.")


_SIGNED = {"hyperextended_deg", "alternating_share"}
_ORDERED = (
    ("extended_deg", "curled_deg"),
    ("palms_contact_m", "palms_near_m"),
    ("palms_near_m", "palms_medium_m"),
    ("slow_hz", "fast_hz"),
    ("small_spans", "large_spans"),
    ("reversal_low_share", "reversal_share"),
    ("reversal_share", "reversal_high_share"),
    ("not_facing_share", "facing_share"),
    ("line_share", "circle_share"),
)
