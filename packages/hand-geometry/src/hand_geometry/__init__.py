"""The MANO hand, batched and differentiable: rotations, kinematics, fitting, metrics, rendering."""

__version__ = "0.1.0"
