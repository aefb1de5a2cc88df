"""The image autoencoder: its network, the names its tensors have elsewhere."""
