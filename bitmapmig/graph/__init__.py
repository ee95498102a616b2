"""Capture -> BlockGraph: what is there, and how it hangs together. Only this package knows networkx."""

from bitmapmig.graph.drivers import NOT_FILTERS
from bitmapmig.graph.edit import with_added, without
from bitmapmig.graph.likeness import counterparts
from bitmapmig.graph.model import BlockGraph
from bitmapmig.graph.order import activation, with_bitmaps
from bitmapmig.graph.read import read
from bitmapmig.graph.shape import Extent, extent, knots
from bitmapmig.graph.vertices import Backend, Bitmap, Edge, Export, Job, Node, Orders, StoredBitmap, Walk

__all__ = [
    "NOT_FILTERS",
    "Backend",
    "Bitmap",
    "BlockGraph",
    "Edge",
    "Export",
    "Extent",
    "Job",
    "Node",
    "Orders",
    "StoredBitmap",
    "Walk",
    "activation",
    "counterparts",
    "extent",
    "knots",
    "read",
    "with_added",
    "with_bitmaps",
    "without",
]
