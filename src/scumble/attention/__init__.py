"""Algebra on attention maps: whose words they belong to, how they are kept, exchanged and made into masks."""
