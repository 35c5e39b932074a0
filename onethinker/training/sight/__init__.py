"""What the vision tower of the model in the box is taught before SFT: names, colours and places; then letters."""
