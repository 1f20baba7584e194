"""Training speed against torchvision's reference loop, with the losses beside it."""
