"""Suites: rows of settings × seeds, run to the end whatever happens, and the table that they make."""
