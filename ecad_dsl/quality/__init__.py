"""How good pictures are, and how fast they come: rewards, prompt sets, measurements."""
