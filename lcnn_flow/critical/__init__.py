"""Critical points: what they are, which of them are the same, and proofs that they are there."""

from lcnn_flow.critical.certificate import Certificate, certify
from lcnn_flow.critical.classification import CriticalPoint, Kind, classify
from lcnn_flow.critical.orbits import Orbits, orbits

__all__ = ["Certificate", "CriticalPoint", "Kind", "Orbits", "certify", "classify", "orbits"]
