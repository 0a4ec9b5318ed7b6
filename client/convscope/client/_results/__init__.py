"""What callers receive: classes, feature maps, explanations and descriptions of models."""
