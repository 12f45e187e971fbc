"""flatstep inside of other libraries, in their own shapes. Each module needs the library that it is
named after, which it alone imports: ``flatstep.interop.sklearn``, ``flatstep.interop.torch``."""

from __future__ import annotations

__all__: list[str] = []
