"""A task and a reward for OneThinker, as a package of another lab would have them."""
