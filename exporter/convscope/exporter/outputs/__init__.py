"""What a network's final output means, and the gates that every bundle passes."""
