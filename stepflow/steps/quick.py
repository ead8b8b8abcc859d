"""quick: attrs' `frozen` for values of which a chain has thousands: the type checker refuses to set their attributes.

At run time they are not frozen: to set an attribute in the way that frozen classes need takes four times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as frozen
else:
    from attrs import define as frozen  # noqa: F401 - for the other modules of this package
