"""What callers pass: images, tensors, feature maps and explanations, checked and encoded."""
