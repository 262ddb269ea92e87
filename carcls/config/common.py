"""What the parts of a configuration have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from carcls.catalog import nearest_name

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class FrozenModel(BaseModel):
    """Settings that cannot change; an unknown key and a number that is not finite are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def known_name(name: str, valid: tuple[str, ...], what: str) -> str:
    """The name, if it is one of `valid`; otherwise a ValueError that suggests the nearest one."""
    if name in valid:
        return name
    near = nearest_name(name, valid)
    hint = f"; did you mean {near!r}?" if near else f"; expected one of {', '.join(valid)}"
    raise ValueError(f"unknown {what} {name!r}{hint}")
