"""How the provider's secret is put on a request: the value of one header."""

from ext_proc.credential._static import check, header_value, secret_value

__all__ = ["check", "header_value", "secret_value"]
