"""What can be expected after a step, or at the end: of the graphs, and of a plan between them."""

from __future__ import annotations

from functools import cache
from typing import Literal

from pydantic import Field, JsonValue, model_validator

from bitmapmig.fate.outcome import MigrationEnd
from bitmapmig.fate.outcome import Outcome as Foretelling
from bitmapmig.plans.document import Fate
from bitmapmig.qapi import Many
from bitmapmig.resolve import NameKind
from bitmapmig.scenarios.members import BitmapPlace, FindingCode, Name, Part, Presence, Said, Size, refuse
from bitmapmig.transforms.becoming import Outcome


class ExpectedBitmap(Presence):
    """What a bitmap is; members that are not said may be anything."""

    address: Name | None = Field(default=None, description="its address; null where it has none")
    rule: NameKind | None = Field(default=None, description="which rule gives the address; null where none does")
    becomes: Said[Outcome] = Field(default=None, description="what became of it since the step before, or the start")
    recording: Said[bool] = None
    busy: Said[bool] = None
    persistent: Said[bool] = None
    inconsistent: Said[bool] = None
    granularity: Said[Size] = None
    dirty: Said[Size] = Field(default=None, description="bytes")

    @model_validator(mode="before")
    @classmethod
    def _as_members(cls, data: object) -> object:
        return _or_absent(data)


class ExpectedNode(Presence):
    """What a node is."""

    driver: Said[Name] = None
    size: Said[Size] = None
    read_only: Said[bool] = None
    file: Name | None = Field(default=None, description="a child; null where it has none")
    backing: Name | None = Field(default=None, description="a child; null where it has none")

    @model_validator(mode="before")
    @classmethod
    def _as_members(cls, data: object) -> object:
        return _or_absent(data)


def _or_absent(data: object) -> object:
    if data == "absent":
        return {"absent": True}
    if isinstance(data, dict) and "absent" in data:
        refuse("write `absent` instead of the mapping, as in `fmt0/daily: absent`")
    if isinstance(data, dict) and not data:
        refuse("says nothing: name a member, or write `absent`")
    return data


class ExpectedGraph(Part):
    """What is where in one QEMU."""

    bitmaps: dict[BitmapPlace, ExpectedBitmap] = Field(default_factory=dict, description="by node or device, and name")
    nodes: dict[Name, ExpectedNode] = Field(default_factory=dict, description="by node-name")
    devices: dict[Name, Name | None] = Field(
        default_factory=dict, description="the root node of each; null without a medium"
    )
    guest_devices: dict[Name, Name | None] = Field(default_factory=dict, description="the root node of each")
    jobs: dict[Name, str] = Field(default_factory=dict, description="the status of each, or `absent`")
    no_bitmap_lost: Said[bool] = Field(
        default=None,
        description="whether every bitmap that was there still is, and of use; one that a step removes aside",
    )

    @property
    def says_something(self) -> bool:
        """Whether any value is expected."""
        return any(_says_something(getattr(self, member)) for member in self.model_fields_set)


def _says_something(part: object) -> bool:
    if isinstance(part, ExpectedGraph):
        return part.says_something
    if isinstance(part, ExpectedMap):
        return bool(part.model_fields_set)
    return part != {}


class ExpectedMap(Part):
    """The map of a plan, exactly; null where there is none on that side."""

    source: JsonValue = None
    destination: JsonValue = None


@cache
def _nothing_there() -> ExpectedGraph:
    return ExpectedGraph()  # frozen, so one of it will do


class Expect(ExpectedGraph):
    """What is expected at one moment: of the source, of the destination, and of a plan between them."""

    destination: ExpectedGraph = Field(
        default_factory=_nothing_there, description="what is expected of the destination"
    )
    plan: Said[Literal["planned", "refused"]] = Field(default=None, description="the verdict of a plan made now")
    refusals: Said[Many[FindingCode]] = Field(default=None, description="exactly these codes, in any order")
    advice: Said[Many[FindingCode]] = Field(default=None, description="exactly these codes, in any order")
    fates: dict[BitmapPlace, Fate] = Field(default_factory=dict, description="the fate of each in the plan")
    map: Said[ExpectedMap] = Field(default=None, description="the map of the plan")
    foretold: dict[BitmapPlace, Foretelling] = Field(
        default_factory=dict, description="what QEMU would do with each, by the map of the plan"
    )
    migration: Said[MigrationEnd] = Field(default=None, description="what the migration would come to, by that map")

    @property
    def plans(self) -> bool:
        """Whether it says anything of a plan."""
        return bool(PLANNED & self.model_fields_set)

    @property
    def of_destination(self) -> bool:
        """Whether it says anything that takes a destination."""
        return self.plans or "destination" in self.model_fields_set


#: What of an `Expect` is about a plan.
PLANNED = frozenset(("plan", "refusals", "advice", "fates", "map", "foretold", "migration"))
