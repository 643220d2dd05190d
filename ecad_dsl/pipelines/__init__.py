"""Pipelines with weights: where they come from, what they need, stored prompts, and pictures by the thousand."""
