"""The LAFITE generator and its discriminator: networks, losses and views of pictures."""
