"""Critical points: their classification, the identification of equal ones, and proofs that they exist."""

from lcnn_flow.critical.certificate import Certificate, certify, certify_plain, no_proof
from lcnn_flow.critical.classification import CriticalPoint, Kind, classify
from lcnn_flow.critical.distinct import above_lowest, grouped_by_filter
from lcnn_flow.critical.overview import Overview, summary
from lcnn_flow.critical.plain_network import PlainNetwork
from lcnn_flow.critical.plain_numbers import PlainRisk, plain_numbers_of, plain_risk
from lcnn_flow.critical.rescaled import Orbits, orbits

__all__ = [
    "Certificate",
    "CriticalPoint",
    "Kind",
    "Orbits",
    "Overview",
    "PlainNetwork",
    "PlainRisk",
    "above_lowest",
    "certify",
    "certify_plain",
    "classify",
    "grouped_by_filter",
    "no_proof",
    "orbits",
    "plain_numbers_of",
    "plain_risk",
    "summary",
]
