"""Situation and findings -> the plan document, with the map, its commands and what they leave set."""

from bitmapmig.plans.build import build
from bitmapmig.plans.document import Plan, Refused, dump, load
from bitmapmig.plans.offer import merging, offered, places

__all__ = ["Plan", "Refused", "build", "dump", "load", "merging", "offered", "places"]
