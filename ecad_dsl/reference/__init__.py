"""The reference model: a small PixArt on procedural scenes, the reader that rewards its pictures, their training."""
