"""A capture and steps -> what would become of the graph and of each bitmap, and what would keep them. Pure."""

from bitmapmig.simulating.document import (
    Simulated,
    SimulatedOperation,
    SimulatedPlan,
    SimulatedRecipe,
    SimulatedStep,
    SimulatedVerdict,
)
from bitmapmig.simulating.simulator import simulate

__all__ = [
    "Simulated",
    "SimulatedOperation",
    "SimulatedPlan",
    "SimulatedRecipe",
    "SimulatedStep",
    "SimulatedVerdict",
    "simulate",
]
