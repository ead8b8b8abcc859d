"""The PostgreSQL driver: a store for many processes and machines, in one schema of a database you already have."""

from stepflow.drivers.postgres.driver import PostgresDriver

__all__ = ["PostgresDriver"]
