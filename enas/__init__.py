"""Neural architecture search with shared weights."""
