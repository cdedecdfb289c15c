"""The threshold studio: a local page over the store, where bounds are moved and their effect is seen at once."""
