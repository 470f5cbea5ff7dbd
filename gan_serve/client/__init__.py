"""Clients of a server: ``Client`` and ``AsyncClient``."""
