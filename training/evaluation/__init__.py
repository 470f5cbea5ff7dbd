"""How good a generator is, in numbers whose names state how they were measured."""
