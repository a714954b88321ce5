"""The functions of the migration guide."""
