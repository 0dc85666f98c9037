"""The pages of what was learnt: distributions of tokens, and what was expected against what came."""
