"""What is measured on scored rows."""
