"""Fine-tuning torchvision's Mask R-CNN: data, models, training and evaluation."""
