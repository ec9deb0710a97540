"""Base model, text and page region, shared by the models of jobs, fields and settings."""

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, model_validator
from pydantic import Field as Key

from pipeline.core.geometry import Region

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Fraction = Annotated[float, Key(ge=0, le=1)]


class Closed(BaseModel):
    """A frozen model that rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _RegionKeys(Closed):
    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)

    left: Fraction
    top: Fraction
    width: Annotated[float, Key(gt=0, le=1)]
    height: Annotated[float, Key(gt=0, le=1)]

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if self.left + self.width > 1 + 1e-9 or self.top + self.height > 1 + 1e-9:
            raise ValueError("the region leaves the page: left + width and top + height may be at most 1")
        return self


if TYPE_CHECKING:
    PageRegion = Region
else:
    PageRegion = Annotated[_RegionKeys, AfterValidator(lambda keys: Region(**dict(keys)))]


def region_words(region: Region) -> str:
    """The region in words, for the prompt."""
    edges = (region.left, region.left + region.width, region.top, region.top + region.height)
    left, right, top, bottom = (round(100 * edge) for edge in edges)
    return f"stands between {left}% and {right}% of the page's width, and {top}% and {bottom}% of its height"
