"""How the provider's secret is put on a request: the value of one header."""

from ext_proc.credential._static import header_value

__all__ = ["header_value"]
