"""What promptscope is measured against."""
